-- Asks the paths of a file in turn, each thread from a place of its own, and prints what was measured as one JSON line.
-- Usage: wrk ... -s wrk.lua http://host:port -- file

local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  requests = {}
  for path in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format("GET", path)
  end
  position = number * math.floor(#requests / 2) % #requests
end

function request()
  position = position % #requests + 1
  return requests[position]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'MEASURED {"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "status": %d, "connection": %d, "timeout": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write, errors.timeout
  ))
end
