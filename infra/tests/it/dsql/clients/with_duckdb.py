"""DuckDB's postgres scanner and the ADBC driver against the local DSQL: both read and write by binary COPY."""

import pathlib
import sys

import adbc_driver_postgresql.dbapi
import duckdb
import pyarrow

URL = sys.argv[1]

with adbc_driver_postgresql.dbapi.connect(URL, autocommit=True) as ledger, ledger.cursor() as cursor:
    cursor.execute("CREATE TABLE d (id bigint PRIMARY KEY, name text, amount numeric(18,4))")
    rows = pyarrow.table({"id": pyarrow.array(range(100), pyarrow.int64()), "name": [f"row {n}" for n in range(100)]})
    assert cursor.adbc_ingest("d", rows, mode="append") == 100
    cursor.execute("SELECT id, name FROM d WHERE id >= 98 ORDER BY id")
    assert cursor.fetch_arrow_table().to_pydict() == {"id": [98, 99], "name": ["row 98", "row 99"]}

extensions = pathlib.Path(duckdb.__file__).parent.parent / "duckdb_ext" / "extensions"
scanner = duckdb.connect(config={"extension_directory": str(extensions), "autoinstall_known_extensions": False})
scanner.execute("LOAD postgres_scanner")
scanner.execute(f"ATTACH '{URL}' AS ledger (TYPE postgres)")
assert scanner.execute("SELECT count(*), sum(id) FROM ledger.d").fetchone() == (100, 4_950)
assert scanner.execute("SELECT name FROM ledger.d WHERE id = 42").fetchone() == ("row 42",)
scanner.execute("INSERT INTO ledger.d SELECT 1000 + i, 'from duckdb', 1.25 FROM range(50) t(i)")
assert scanner.execute("SELECT count(*), sum(amount) FROM ledger.d").fetchone() == (150, 62.5)
scanner.execute("BEGIN")
scanner.execute("DELETE FROM ledger.d WHERE id >= 1000")
scanner.execute("ROLLBACK")
assert scanner.execute("SELECT count(*) FROM ledger.d").fetchone() == (150,)
scanner.execute("DETACH ledger")
