// node-postgres: named statements, a pool, cursors, notifications.
const assert = require('node:assert');
const { Client, Pool } = require('pg');
const Cursor = require('pg-cursor');

const checks = {
  async 'named statements'() {
    const [one, two] = [new Client(), new Client()];
    await Promise.all([one.connect(), two.connect()]);
    for (let n = 0; n < 20; n++) {
      const [a, b] = await Promise.all([
        one.query({ name: 'same', text: 'SELECT $1::int + 1 AS n', values: [n] }),
        two.query({ name: 'same', text: 'SELECT $1::text || $2::text AS t', values: [n, 'x'] }),
      ]);
      assert.strictEqual(a.rows[0].n, n + 1);
      assert.strictEqual(b.rows[0].t, n + 'x');
    }
    await Promise.all([one.end(), two.end()]);
  },

  async 'a pool'() {
    const pool = new Pool({ max: 5 });
    await pool.query('CREATE TABLE counters (id int PRIMARY KEY, n int)');
    await pool.query('INSERT INTO counters VALUES (1, 0)');
    await Promise.all(Array.from({ length: 40 }, async () => {
      const client = await pool.connect();
      try {
        await client.query('BEGIN');
        await client.query('UPDATE counters SET n = n + 1 WHERE id = $1', [1]);
        await client.query('COMMIT');
      } finally {
        client.release();
      }
    }));
    const { rows } = await pool.query('SELECT n FROM counters');
    assert.deepStrictEqual(rows, [{ n: 40 }]);
    await pool.end();
  },

  async errors() {
    const client = new Client();
    await client.connect();
    await assert.rejects(client.query('SELECT $1::int', ['no number']), { code: '22P02' });
    await assert.rejects(client.query({ name: 'bad', text: 'SELECT nothing FROM nowhere' }), { code: '42P01' });
    assert.strictEqual((await client.query('SELECT 1 AS a; SELECT 2 AS b')).length, 2);
    await client.query('BEGIN');
    await assert.rejects(client.query('SELECT 1/0'), { code: '22012' });
    await assert.rejects(client.query('SELECT 1'), { code: '25P02' });
    await client.query('ROLLBACK');
    assert.strictEqual((await client.query('SELECT $1::json AS j', [{ a: [1] }])).rows[0].j.a[0], 1);
    await client.end();
  },

  async cursors() {
    const client = new Client();
    await client.connect();
    await client.query('BEGIN');
    const cursor = client.query(new Cursor('SELECT n FROM generate_series(1, 100) AS n'));
    let sum = 0;
    for (let rows; (rows = await cursor.read(7)).length > 0;) {
      sum += rows.reduce((s, row) => s + row.n, 0);
    }
    assert.strictEqual(sum, 5050);
    await cursor.close();
    await client.query('COMMIT');
    await client.end();
  },

  async notifications() {
    const [ear, mouth] = [new Client(), new Client({ application_name: 'mouth', statement_timeout: 54321 })];
    await Promise.all([ear.connect(), mouth.connect()]);
    const heard = new Promise((resolve) => ear.on('notification', (m) => resolve(m.payload)));
    await ear.query('LISTEN news');
    await mouth.query("SELECT pg_notify('news', 'hello')");
    assert.strictEqual(await heard, 'hello');
    assert.strictEqual((await mouth.query('SHOW application_name')).rows[0].application_name, 'mouth');
    assert.strictEqual((await mouth.query('SHOW statement_timeout')).rows[0].statement_timeout, '54321ms');
    await Promise.all([ear.end(), mouth.end()]);
  },
};

(async () => {
  for (const [name, check] of Object.entries(checks)) {
    await check();
    console.log('ok', name);
  }
})().catch((e) => {
  console.error(e);
  process.exit(1);
});
