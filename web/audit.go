package web

import (
	"github.com/labstack/echo/v4"
	"github.com/sirupsen/logrus"

	"github.com/tenantpool/tenantpool/model"
)

// audit writes the one line that says who did what to which workspace (empty: to
// all), and what came of it. Of an error only its text stands there.
func (s *Server) audit(c echo.Context, action string, workspace model.WorkspaceID, result string, err error) {
	who := s.identity(c)
	fields := logrus.Fields{
		"audit":      action,
		"role":       who.Role,
		"result":     result,
		"request_id": requestID(c),
	}
	s.logIdentity(c, fields)
	if workspace != "" {
		fields["workspace_id"] = workspace
	}
	if err != nil {
		fields["error"] = loggedError(err)
	}
	s.log.WithFields(fields).Info("Operator's action")
}
