// postgres.js against the local DSQL: Parse, Describe, Flush before each Bind; transactions, pipelining, COPY as streams.

import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import postgres from 'postgres'

const sql = postgres(process.argv[2], { max: 2, onnotice: () => {} })
const refused = async (code, promise) => {
  const error = await promise.then(() => assert.fail(`not refused with ${code}`), (error) => error)
  assert.equal(error.code, code, `${error}`)
}

await sql`CREATE TABLE j (id int PRIMARY KEY, name text)`
await sql`INSERT INTO j ${sql([{ id: 1, name: 'one' }, { id: 2, name: 'two' }])}`
const many = await Promise.all([1, 2, 1, 2].map((id) => sql`SELECT name FROM j WHERE id = ${id}`))
assert.deepEqual(many.map(([row]) => row.name), ['one', 'two', 'one', 'two'])
await refused('42P01', sql`SELECT ${1}::int FROM nowhere`)
await refused('0A000', sql`LOCK TABLE j`)
assert.equal((await sql`SELECT count(*)::int AS n FROM j WHERE id > ${0}`)[0].n, 2)

await sql.begin(async (tx) => {
  await tx`UPDATE j SET name = ${'eins'} WHERE id = ${1}`
  const [row] = await tx`SELECT name FROM j WHERE id = ${1}`
  assert.equal(row.name, 'eins')
})
await assert.rejects(sql.begin(async (tx) => {
  await tx`DELETE FROM j WHERE id = ${1}`
  throw new Error('rolled back')
}), /rolled back/)
const names = []
await sql`SELECT name FROM j WHERE id > ${0} ORDER BY id`.cursor(1, ([row]) => { names.push(row.name) })
assert.deepEqual(names, ['eins', 'two'])

await pipeline(Readable.from(['10\tten\n', '11\televen\n']), await sql`COPY j FROM STDIN`.writable())
let out = ''
for await (const piece of await sql`COPY (SELECT * FROM j WHERE id >= 10 ORDER BY id) TO STDOUT`.readable()) out += piece
assert.equal(out, '10\tten\n11\televen\n')
await sql.end({ timeout: 5 })
