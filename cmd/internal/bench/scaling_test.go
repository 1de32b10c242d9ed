package bench

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
)

func TestAnAutomaticBudgetIsRaisedWhileTheLoadIsHighAndTheFixedOnesStay(t *testing.T) {
	o := DefaultScaling()
	o.Trace, o.Lowest, o.Highest, o.Workspaces = Traces()[2], 5, 14, 12
	// Two slots are busy at first, and then six.
	o.Rate, o.Held, o.Before, o.High, o.After = 10, 200*time.Millisecond, 2*time.Second, 3*time.Second, time.Second
	con := stage.StartConsole(t.Output())
	defer con.Stop()
	all, err := Scale(t.Context(), o, con)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if raised := r.Changes > 0; raised != (r.Name == "automatic") || r.Turns > 0 || r.Failed > 0 || r.WaitP99 == 0 || r.Dials == 0 {
			t.Errorf("%+v", r)
		}
	}
	if lowest, highest := all[1], all[2]; lowest.ShortOfRoom == 0 || highest.ShortOfRoom > lowest.ShortOfRoom {
		t.Errorf("short of room: lowest %v, highest %v", lowest.ShortOfRoom, highest.ShortOfRoom)
	}
	var table bytes.Buffer
	file := filepath.Join(t.TempDir(), "budgets.svg")
	if err := WriteScaled(&table, all); err != nil || strings.Count(table.String(), "\n") != 2+len(all) {
		t.Errorf("%v: %s", err, &table)
	}
	if err := DrawScaled(file, o, all); err != nil {
		t.Fatal(err)
	}
	if svg, err := os.ReadFile(file); err != nil || !bytes.Contains(svg, []byte("DB_AUTO_BUDGET=5..14")) {
		t.Errorf("%v: %.300s", err, svg)
	}
}
