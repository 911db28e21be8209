"""asyncpg against the local DSQL: prepared statements (Parse, Describe, Flush), transactions, cursors, COPY."""

import asyncio
import io
import sys

import asyncpg


async def refused(code, awaitable):
    try:
        await awaitable
    except asyncpg.PostgresError as error:
        assert error.sqlstate == code, (error.sqlstate, str(error))
        return str(error)
    raise AssertionError(f"not refused with {code}")


async def main():
    ours = await asyncpg.connect(sys.argv[1])
    await ours.execute("CREATE TABLE a (id int PRIMARY KEY, name text, amount numeric(18,4))")
    assert await ours.fetchval("SELECT $1::int + 1", 41) == 42
    await ours.execute("INSERT INTO a VALUES ($1, $2, 1.5)", 1, "one")
    await ours.executemany("INSERT INTO a VALUES ($1, $2, 2.5)", [(2, "two"), (3, "three")])
    statement = await ours.prepare("SELECT name FROM a WHERE id = $1")
    assert [await statement.fetchval(id) for id in (1, 2, 3)] == ["one", "two", "three"]

    # A statement that cannot be prepared ends its series and nothing else.
    await refused("42703", ours.prepare("SELECT nothing FROM a"))
    assert await statement.fetchval(2) == "two"
    await refused("0A000", ours.prepare("TRUNCATE a"))
    assert await statement.fetchval(3) == "three"

    async with ours.transaction(isolation="repeatable_read"):
        names = [row["name"] async for row in ours.cursor("SELECT name FROM a ORDER BY id", prefetch=1)]
        assert names == ["one", "two", "three"], names
        await ours.execute("UPDATE a SET amount = $1 WHERE id = $2", 7, 1)
    try:
        async with ours.transaction():
            await ours.execute("DELETE FROM a WHERE id = $1", 1)
            raise KeyError
    except KeyError:
        pass
    assert await ours.fetchval("SELECT count(*) FROM a WHERE amount = 7") == 1

    # The loser of two transactions learns it at its COMMIT, whatever it prepared meanwhile.
    theirs = await asyncpg.connect(sys.argv[1])
    mine = ours.transaction()
    await mine.start()
    await ours.fetchval("SELECT amount FROM a WHERE id = $1", 1)
    await theirs.execute("UPDATE a SET amount = $1 WHERE id = $2", 8, 1)
    update = "UPDATE a SET amount = amount + 1 WHERE id = 1"
    await ours.execute(update)
    assert "(OC000)" in await refused("40001", mine.commit())
    assert await ours.fetchval("SELECT amount FROM a WHERE id = $1", 1) == 8
    await theirs.close()

    rows = [(number, f"row {number}", None) for number in range(10, 3_010)]
    assert await ours.copy_records_to_table("a", records=rows) == "COPY 3000"
    more = [(number, "more", None) for number in range(5_000, 8_001)]
    await refused("54000", ours.copy_records_to_table("a", records=more))
    assert await ours.fetchval("SELECT count(*) FROM a") == 3_003
    await refused("22P02", ours.copy_to_table("a", source=io.BytesIO(b"x\tname\t1\n" * 10_000)))
    out = io.BytesIO()
    assert await ours.copy_from_query("SELECT * FROM a WHERE id < $1 ORDER BY id", 12, output=out) == "COPY 5"
    assert out.getvalue().decode().splitlines()[-1] == "11\trow 11\t\\N", out.getvalue()
    async with ours.transaction():
        await ours.execute("DELETE FROM a WHERE id >= $1 AND id < $2", 10, 12)
        assert await ours.copy_records_to_table("a", records=rows[:2]) == "COPY 2"
    assert "use COPY TO STDOUT" in await refused("0A000", ours.execute("COPY a TO '/tmp/a'"))
    assert await ours.fetchval("SELECT count(*) FROM a") == 3_003
    await ours.close()


asyncio.run(asyncio.wait_for(main(), 60))
