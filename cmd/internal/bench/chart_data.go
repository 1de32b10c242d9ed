package bench

// CheckChart tells whether a chart can be written to a file of that name. Ask it
// before a long run.
func CheckChart(file string) error {
	_, err := chartFormat(file)
	return err
}

// ChartData is what a chart shows of the result.
func (r *Result) ChartData() (data []ChartData) {
	for _, w := range r.Workloads {
		one := ChartData{Workload: w.title()}
		for _, s := range w.Strategies {
			if s.Skipped != "" {
				continue
			}
			one.Bars = append(one.Bars, ChartBar{
				Strategy:          s.Name,
				RequestsPerSecond: s.RequestsPerSecond.Median,
				Low:               s.RequestsPerSecond.Min,
				High:              s.RequestsPerSecond.Max,
				P50Ms:             s.P50Ms.Median,
				P99Ms:             s.P99Ms.Median,
				P999Ms:            s.P999Ms.Median,
				HitRatio:          s.HitRatio.Median,
				LRUHitRatio:       s.LRUHitRatio.Median,
				BeladyHitRatio:    s.BeladyHitRatio.Median,
				Errors:            int(s.Failed),
			})
		}
		if len(one.Bars) > 0 {
			data = append(data, one)
		}
	}
	return data
}
