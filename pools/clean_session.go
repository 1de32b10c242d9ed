package pools

import (
	"errors"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools/internal/reset"
)

// sessionCommands are the commands whose only effect is on a session or a transaction
// that lasts beyond one statement. Here none does, so the server would carry them out,
// and nothing would come of it: an INSERT between a BEGIN and a ROLLBACK would stay.
// The value says what to do instead.
var sessionCommands = map[string]string{
	"ABORT": oneTransaction, "BEGIN": oneTransaction, "COMMIT": oneTransaction, "END": oneTransaction,
	"LOCK": oneTransaction, "PREPARE": oneTransaction, "RELEASE": oneTransaction, "ROLLBACK": oneTransaction,
	"SAVEPOINT": oneTransaction, "START": oneTransaction,
	"DEALLOCATE": oneTransaction, "EXECUTE": oneTransaction,
	"CLOSE": oneTransaction, "DECLARE": oneTransaction, "FETCH": oneTransaction, "MOVE": oneTransaction,
	"DISCARD": lastingSetting, "LOAD": lastingSetting, "RESET": lastingSetting, "SET": lastingSetting,
	"LISTEN": ownConnection, "UNLISTEN": ownConnection,
}

const (
	oneTransaction = "do all of it in one statement (WITH, DO, a function), or use a connection of your own"
	lastingSetting = "set it for all sessions (ALTER DATABASE ... SET), for one function (CREATE FUNCTION ... SET), or use a connection of your own"
	ownConnection  = "use a connection of your own"
)

// refuseSessionCommand returns an error for a statement that is one of sessionCommands.
// PostgreSQL's grammar has each of them begin with its word, and with no other, and one
// message of the extended protocol holds one statement.
func refuseSessionCommand(sql string) error {
	word, rest := firstWord(sql)
	instead, refused := sessionCommands[word]
	if !refused {
		return nil
	}
	if second, _ := firstWord(rest); second == "PREPARED" && (word == "COMMIT" || word == "ROLLBACK") {
		return nil // of a transaction that has outlasted its session
	}
	return &model.SQLError{
		Code:    pgerrcode.FeatureNotSupported,
		Message: word + " is not supported here: each statement is a transaction of its own, in a session of its own",
		Hint:    instead,
	}
}

// firstWord is the statement's first word in upper case, after the white space, comments
// and empty statements that PostgreSQL's scanner skips (scan.l), and what follows it; ""
// if it begins with something else.
func firstWord(sql string) (word, rest string) {
	for {
		sql = strings.TrimLeft(sql, " \t\n\r\f\v;")
		switch {
		case strings.HasPrefix(sql, "--"):
			end := strings.IndexAny(sql, "\r\n")
			if end < 0 {
				return "", ""
			}
			sql = sql[end:]
		case strings.HasPrefix(sql, "/*"):
			sql = afterComment(sql)
		default:
			n := wordLength(sql)
			return strings.ToUpper(sql[:n]), sql[n:]
		}
	}
}

// wordLength is that of the identifier or keyword that sql begins with.
func wordLength(sql string) int {
	for i := range len(sql) {
		c := sql[i] | 0x20 // in lower case
		letter := 'a' <= c && c <= 'z' || sql[i] == '_' || sql[i] >= 0x80
		if !letter && (i == 0 || sql[i] != '$' && (sql[i] < '0' || sql[i] > '9')) {
			return i
		}
	}
	return len(sql)
}

// afterComment is what follows the comment that sql begins with. Comments nest.
func afterComment(sql string) string {
	depth := 0
	for i := 0; i+1 < len(sql); i++ {
		switch sql[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				return sql[i+1:]
			}
		}
	}
	return ""
}

var (
	resetFirst      = reset.Transaction
	resetAfterwards = strings.Join(reset.Session, "; ")
)

// spoilers are the commands that may change the prepared statements, or what else
// cannot be undone. A DO block or a procedure may contain any of them.
var spoilers = []string{"PREPARE", "DEALLOCATE", "DISCARD", "LOAD", "DO", "CALL"}

// resetAnswer takes a message of the second half. A session that was not reset is
// not used again. PostgreSQL before 17 signals a backend twice for one cancel request, and
// on a busy machine the second signal may hit the reset, which then is sent once more.
func (s *statement) resetAnswer(message pgproto3.BackendMessage) error {
	switch m := message.(type) {
	case *pgproto3.ErrorResponse:
		err := pgconn.ErrorResponseToPgError(m)
		if s.resetAgain = err.Code == pgerrcode.QueryCanceled && s.backend.cancels() > s.cancels; s.resetAgain {
			return nil
		}
		return err
	case *pgproto3.NotificationResponse:
		return s.notified(m)
	}
	return nil
}

// notifiedAtMost bounds what a statement may notify its own session of: pgx keeps
// notifications for who waits for them, and nobody does.
const notifiedAtMost = 1 << 20

var (
	errNotified   = errors.New("the statement notified its own session of more than a mebibyte")
	errForeignRow = errors.New("the server sent a row without the columns it announced: check that DB_HOST and DB_PORT are those of a PostgreSQL")
)

// notified ends the session, and frees what pgx has kept, when there is too much of
// it. Before the statement was carried out they are none of its own: they were
// sent to the connection's other users.
func (s *statement) notified(m *pgproto3.NotificationResponse) error {
	const each = 64 // about what pgx needs beside the text
	s.spoiled = true
	s.told += len(m.Channel) + len(m.Payload) + each
	if s.completed && s.told > notifiedAtMost {
		return errNotified
	}
	return nil
}
