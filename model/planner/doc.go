// Package planner finds out from recorded traffic which budget it needs.
//
// It is pure, as package core is: no goroutine, channel, clock or randomness. Package
// actor records the traffic, package pools runs the planner.
//
//	seats, messages --> Traffic --> Window --> replays of the decision core --> estimates
//	  (actor)              |                   in virtual time                     |
//	                       +-----> Curve ------------------------------------------+--> model.Capacity
//	                       |       distances of reuse
//	                       +-----> Load --> model.Utilisation, AutoBudget
package planner
