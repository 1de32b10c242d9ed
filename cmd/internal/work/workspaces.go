package work

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/tenantpool/tenantpool/model"
)

// ReadWorkspaces reads ids, one a line. Empty lines, and those that begin with #, are left
// out. The error says all that is wrong, by line.
func ReadWorkspaces(from io.Reader) (ids []model.WorkspaceID, err error) {
	var wrong []error
	lines := map[model.WorkspaceID]int{}
	scanner := bufio.NewScanner(from)
	for number := 1; scanner.Scan(); number++ {
		text := strings.TrimSpace(scanner.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		id, err := model.ParseWorkspaceID(text)
		if first, twice := lines[id]; err == nil && twice {
			err = fmt.Errorf("workspace %q is in line %d already", id, first)
		}
		if err != nil {
			if len(wrong) < wrongAtMost {
				wrong = append(wrong, fmt.Errorf("line %d: %w", number, err))
			}
			continue
		}
		lines[id] = number
		ids = append(ids, id)
	}
	if err := scanner.Err(); err != nil {
		wrong = append(wrong, err)
	}
	if len(wrong) == 0 && len(ids) == 0 {
		wrong = append(wrong, errors.New("there is no workspace in it: write one id a line"))
	}
	return ids, errors.Join(wrong...)
}

// wrongAtMost bounds the errors of a file that is something else.
const wrongAtMost = 10
