# The commands of this project. All they need is Python 3.11 or newer with pip; the rest they set up in .venv and var.
.PHONY: run test bench

# Settings: PORT=3000 WEB_CONCURRENCY=<cores>, and every other variable of .env.example.
run:
	@exec sh .ci/run.sh

test:
	@exec sh .ci/test.sh

# Options: make bench BENCH="--seconds 10 --peer name=http://127.0.0.1:3900/slug"
bench:
	@exec sh .ci/bench.sh $(BENCH)
