package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sirupsen/logrus"
)

// The variables that say what serve logs.
const (
	logLevelVariable  = "LOG_LEVEL"
	logFormatVariable = "LOG_FORMAT"
)

// logFormats are the formats of a line, by the values of LOG_FORMAT.
var logFormats = map[string]logrus.Formatter{
	"json": &logrus.JSONFormatter{TimestampFormat: milliseconds, FieldMap: logrus.FieldMap{logrus.FieldKeyMsg: "message"}},
	"text": &logrus.TextFormatter{TimestampFormat: milliseconds, DisableColors: true, FullTimestamp: true},
}

// milliseconds is RFC 3339 with milliseconds, so that lines can be put in order.
const milliseconds = "2006-01-02T15:04:05.000Z07:00"

// logFromEnv returns a logger that writes to out: JSON lines of level info and above, unless
// the environment says otherwise.
func logFromEnv(out io.Writer) (*logrus.Logger, error) {
	log := logrus.New()
	log.SetOutput(out)
	log.SetFormatter(logFormats["json"])
	var wrong []error
	if set := os.Getenv(logFormatVariable); set != "" {
		format, known := logFormats[strings.ToLower(set)]
		if known {
			log.SetFormatter(format)
		} else {
			wrong = append(wrong, fmt.Errorf("%s is %q: it must be json or text", logFormatVariable, set))
		}
	}
	if set := os.Getenv(logLevelVariable); set != "" {
		level, err := logrus.ParseLevel(set)
		if err != nil || level < logrus.ErrorLevel || level > logrus.DebugLevel {
			wrong = append(wrong, fmt.Errorf("%s is %q: it must be debug, info, warn or error", logLevelVariable, set))
		} else {
			log.SetLevel(level)
		}
	}
	return log, errors.Join(wrong...)
}
