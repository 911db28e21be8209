"""psycopg against the local DSQL: pipelines (Flush requests), binary and text COPY in both directions."""

import sys

import psycopg

URL = sys.argv[1]


def refused(code, call):
    try:
        call()
    except psycopg.Error as error:
        assert error.sqlstate == code, (error.sqlstate, str(error))
        return str(error)
    raise AssertionError(f"not refused with {code}")


def copy_in(connection, sql, rows, types=None):
    cursor = connection.cursor()
    with cursor.copy(sql) as copy:
        if types:
            copy.set_types(types)
        for row in rows:
            copy.write_row(row)
    return cursor.rowcount


with psycopg.connect(URL, autocommit=True) as ours:
    ours.execute("CREATE TABLE p (id int PRIMARY KEY, name text)")
    assert copy_in(ours, "COPY p FROM STDIN", [(1, "one"), (2, None)]) == 2
    binary = "COPY p (id, name) FROM STDIN WITH (FORMAT binary)"
    assert copy_in(ours, binary, [(3, "three")], ["int4", "text"]) == 1

    with ours.cursor() as cursor, cursor.copy("COPY (SELECT * FROM p ORDER BY id) TO STDOUT") as copy:
        assert list(copy.rows()) == [("1", "one"), ("2", None), ("3", "three")]
    with ours.cursor() as cursor, cursor.copy("COPY p TO STDOUT (FORMAT csv, HEADER)") as copy:
        assert b"".join(copy).splitlines()[0] == b"id,name"
    cursor = ours.cursor()
    with cursor.copy("COPY p FROM STDIN WHERE id > 100") as copy:
        copy.write("4\tfour\n101\tmany\n")
    assert cursor.rowcount == 1

    # A client that gives up leaves nothing, and goes on.
    def gives_up():
        with ours.cursor() as cursor, cursor.copy("COPY p FROM STDIN") as copy:
            copy.write("5\tfive\n")
            raise psycopg.DataError("enough")

    try:
        gives_up()
    except psycopg.DataError:
        pass
    assert ours.execute("SELECT count(*) FROM p").fetchone() == (4,)
    refused("23505", lambda: copy_in(ours, "COPY p FROM STDIN", [(6, "six"), (1, "again")]))
    refused("54000", lambda: copy_in(ours, "COPY p FROM STDIN", [(n, "") for n in range(10_000, 13_001)]))
    wide = "x" * 1_000_000
    refused("54000", lambda: copy_in(ours, "COPY p FROM STDIN", [(n, wide) for n in range(20_000, 20_011)]))
    for sql in ("COPY p FROM PROGRAM 'id'", "COPY p TO '/tmp/p'", "COPY (DELETE FROM p RETURNING id) TO STDOUT"):
        assert "unsupported statement: COPY" in refused("0A000", lambda: ours.execute(sql))
    assert ours.execute("SELECT count(*) FROM p").fetchone() == (4,)

    with ours.pipeline() as pipeline:
        one = ours.execute("SELECT name FROM p WHERE id = %s", [1])
        ours.execute("UPDATE p SET name = %s WHERE id = %s", ["uno", 1])
        again = ours.execute("SELECT name FROM p WHERE id = %s", [1])
        pipeline.sync()
        assert (one.fetchone(), again.fetchone()) == (("one",), ("uno",))

    # Rows are fetched before the pipeline's Sync, which takes a Flush; an error passes over the rest up to it.
    with ours.pipeline():
        assert ours.execute("SELECT name FROM p WHERE id = %s", [3]).fetchone() == ("three",)
        ours.execute("INSERT INTO p VALUES (%s, %s)", [200, "kept until the sync"])
        assert ours.execute("SELECT count(*) FROM p").fetchone() == (5,)
    assert ours.execute("SELECT name FROM p WHERE id = 200").fetchone() == ("kept until the sync",)

    def broken():
        with ours.pipeline():
            ours.execute("DELETE FROM p WHERE id = %s", [3])
            ours.execute("SELECT 1 / %s", [0])
            ours.execute("DELETE FROM p WHERE id = %s", [200])

    refused("22012", broken)
    assert ours.execute("SELECT count(*) FROM p").fetchone() == (5,)

with psycopg.connect(URL) as ours:
    with ours.transaction():
        ours.execute("DELETE FROM p WHERE id = 101")
        assert copy_in(ours, "COPY p FROM STDIN", [(300, "in a transaction")]) == 1
    assert ours.execute("SELECT count(*) FROM p").fetchone() == (5,)
