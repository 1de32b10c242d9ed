package planner

import "github.com/tenantpool/tenantpool/model"

func recommend(c *model.Capacity, _ About) model.Recommendation {
	return model.Recommendation{
		Verdict: model.TooLittleSeen, Budget: c.Present.Budget, PerWorkspace: c.Present.PerWorkspace,
		Text: "Nothing is recommended yet.",
	}
}
