-- Asks the paths of a file in turn, each thread from a place of its own, and prints what was measured as one JSON line.
-- Usage: wrk ... -s wrk.lua http://host:port -- file method body "Header: value" ...

local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  local method, body = args[2], args[3] ~= "" and args[3] or nil
  for place = 4, #args do
    local name, value = args[place]:match("^(.-): (.*)$")
    wrk.headers[name] = value
  end
  requests = {}
  local made = {}
  for path in io.lines(args[1]) do
    made[path] = made[path] or wrk.format(method, path, nil, body)
    requests[#requests + 1] = made[path]
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
