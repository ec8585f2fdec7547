.PHONY: style test site bench

style:  ## lint, format, prose and types
	ruff check --fix . && ruff format . && python3 tools/check_prose.py && mypy

test:  ## all tests, on two processes
	python3 -m pytest -n 2 --dist worksteal

site:  ## the documentation site in build/site, strictly, with every link followed
	python3 tools/check_site.py

bench:  ## the short benchmarks, threads waiting as under the command line; results go to benchmarks/results
	export OMP_WAIT_POLICY=PASSIVE; for script in auxiliary_step gradient_cost inherit_save startup loader kills; do python3 benchmarks/$$script.py || exit 1; done
