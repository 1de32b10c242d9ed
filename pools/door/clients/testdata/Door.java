import java.io.StringReader;
import java.io.StringWriter;
import java.sql.*;
import java.util.Properties;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

/** JDBC: statements prepared after five executions, batches, portals with row limits. */
class Door {
  static Connection connect() throws SQLException {
    Properties p = new Properties();
    p.put("user", System.getenv("PGUSER"));
    p.put("password", System.getenv("PGPASSWORD"));
    p.put("ApplicationName", "door");
    return DriverManager.getConnection("jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE") + "?sslmode=disable", p);
  }

  static void check(boolean ok, String what) {
    if (!ok) throw new AssertionError(what);
  }

  static String one(Connection c, String query) throws SQLException {
    try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(query)) {
      r.next();
      return r.getString(1);
    }
  }

  public static void main(String[] args) throws Exception {
    try (Connection c = connect(); Connection d = connect()) {
      try (PreparedStatement p = c.prepareStatement("SELECT ? + 1"); PreparedStatement q = d.prepareStatement("SELECT ? || 'x'")) {
        for (int i = 0; i < 20; i++) {
          p.setInt(1, i);
          q.setString(1, "" + i);
          try (ResultSet r = p.executeQuery(); ResultSet s = q.executeQuery()) {
            check(r.next() && r.getInt(1) == i + 1, "prepared");
            check(s.next() && s.getString(1).equals(i + "x"), "prepared by the other");
          }
        }
      }
      System.out.println("ok prepared");

      try (Statement s = c.createStatement()) {
        s.execute("CREATE TABLE t (id int PRIMARY KEY, name text)");
      }
      c.setAutoCommit(false);
      try (PreparedStatement p = c.prepareStatement("INSERT INTO t VALUES (?, ?)")) {
        for (int i = 0; i < 1000; i++) {
          p.setInt(1, i);
          p.setString(2, "name " + i);
          p.addBatch();
        }
        for (int n : p.executeBatch()) check(n == 1, "batch");
      }
      c.commit();
      System.out.println("ok batch");

      try (Statement s = c.createStatement()) {
        s.setFetchSize(30);
        try (ResultSet r = s.executeQuery("SELECT id FROM t ORDER BY id")) {
          int n = 0;
          while (r.next()) check(r.getInt(1) == n++, "portal");
          check(n == 1000, "rows");
        }
      }
      System.out.println("ok portal");

      Savepoint before = c.setSavepoint();
      try (Statement s = c.createStatement()) {
        s.executeUpdate("INSERT INTO t VALUES (1, 'twice')");
        check(false, "twice");
      } catch (SQLException e) {
        check(e.getSQLState().equals("23505"), e.getSQLState());
        c.rollback(before);
      }
      check(one(c, "SELECT count(*) FROM t").equals("1000"), "savepoint");
      c.rollback();
      c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
      check(one(c, "SHOW transaction_isolation").equals("serializable"), "isolation");
      c.rollback();
      check(one(c, "SHOW transaction_isolation").equals("serializable"), "isolation of the next one");
      c.commit();
      check(one(d, "SHOW transaction_isolation").equals("read committed"), "isolation of the other");
      c.setAutoCommit(true);
      System.out.println("ok transactions");

      CopyManager copy = c.unwrap(PGConnection.class).getCopyAPI();
      copy.copyIn("COPY t FROM STDIN", new StringReader("2000\ta\n2001\tb\n"));
      StringWriter out = new StringWriter();
      copy.copyOut("COPY (SELECT name FROM t WHERE id >= 2000 ORDER BY id) TO STDOUT", out);
      check(out.toString().equals("a\nb\n"), "copy");
      System.out.println("ok copy");

      try (Statement s = c.createStatement()) {
        Thread canceller = new Thread(() -> {
          try {
            while (one(d, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(1002)%' AND state = 'active' AND pid <> pg_backend_pid()").equals("0")) Thread.sleep(10);
            s.cancel();
          } catch (Exception e) {
            e.printStackTrace();
          }
        });
        canceller.start();
        try {
          s.execute("SELECT pg_sleep(1002)");
          check(false, "slept");
        } catch (SQLException e) {
          check(e.getSQLState().equals("57014"), e.getSQLState());
        }
        canceller.join();
      }
      check(one(c, "SELECT 'alive'").equals("alive"), "alive");
      System.out.println("ok cancel");

      try (Statement s = c.createStatement(); Statement u = d.createStatement()) {
        s.execute("LISTEN news");
        u.execute("NOTIFY news, 'hello'");
        check(c.unwrap(PGConnection.class).getNotifications(60000)[0].getParameter().equals("hello"), "notification");
        s.execute("UNLISTEN news");
      }
      try (ResultSet r = c.getMetaData().getColumns(null, "public", "t", null)) {
        check(r.next() && r.getString("COLUMN_NAME").equals("id"), "metadata");
      }
      c.setSchema("pg_catalog");
      check(one(c, "SELECT current_schema()").equals("pg_catalog"), "schema");
      check(one(c, "SELECT current_schema()").equals("pg_catalog"), "schema, again");
      check(one(d, "SELECT current_schema()").equals("public"), "schema of the other");
      check(one(c, "SHOW application_name").equals("door"), "application_name");
      System.out.println("ok session");
    }
  }
}
