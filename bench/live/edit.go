package live

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"weir/api/limit"
)

// edit changes the rate or the users of the running attack.
func (s *session) edit(value float64, over time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stop == nil || s.state.Phase != phaseRunning:
		return &httpError{http.StatusConflict, errors.New("no attack is running that could be edited")}
	case s.state.Edit == "":
		return &httpError{http.StatusConflict, errors.New("k6 carries out this load by its scenario: it cannot be edited, only stopped")}
	case !(value > 0): // NaN too
		return wrong("value", "%g: want more than 0", value)
	case over < 0 || over > time.Hour:
		return wrong("over", "%s: want between 0s and 1h", over)
	}
	var what string
	if s.state.Edit == "users" {
		if value != float64(int(value)) || int(value) > s.config.MaxUsers {
			return wrong("value", "%g users: want a whole number of at most %d", value, s.config.MaxUsers)
		}
		s.dial.Users(int(value))
		what = fmt.Sprintf("%d users", int(value))
	} else {
		if value > s.config.MaxRate {
			return wrong("value", "%g requests a second are above the ceiling of %.6g (start weir live with --max-rate)", value, s.config.MaxRate)
		}
		s.dial.Turn(value, over)
		what = fmt.Sprintf("%g/s", value)
		if over > 0 {
			what += " within " + over.String()
		}
	}
	s.state.At = value
	if s.state.Edits = append(s.state.Edits, Edit{time.Since(s.state.Started).Seconds(), what}); len(s.state.Edits) > 100 {
		s.state.Edits = s.state.Edits[1:]
	}
	s.hub.publish("state", s.locked())
	return nil
}

// halt stops the running attack: what is in flight is waited for.
func (s *session) halt() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop == nil || s.state.Phase == phaseJudging {
		return &httpError{http.StatusConflict, errors.New("no attack is running")}
	}
	s.state.Phase, s.stopped = phaseStopping, true
	s.stop()
	s.hub.publish("state", s.locked())
	return nil
}

// reset clears the statistics on the page; records and verdict stay whole. With
// no attack running it takes the last one off the page.
func (s *session) reset() {
	s.mu.Lock()
	if s.stop == nil {
		form := s.state.Form
		s.state = State{Phase: phaseIdle, Form: form, Edits: []Edit{}}
		s.meter, s.verdict = nil, nil
	} else {
		s.state.Reset++
		old := s.meter
		s.meter = s.newMeter(s.state.Started)
		old.mu.Lock()
		s.meter.history.first = old.history.first
		old.mu.Unlock()
	}
	s.mu.Unlock()
	s.hub.publish("resync", struct{}{})
}

// rateOf reads a rate as the form has it: "200", "200/s", "10/m".
func rateOf(text string) (float64, error) {
	rate, err := limit.ParseRate(text)
	return rate.PerSecond(), err
}
