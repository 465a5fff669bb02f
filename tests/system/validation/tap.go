// Package tap prints results in the Test Anything Protocol: the calls that the validation programs make, and no more.
// Debian has no package of the library that they were written for.
package tap

import (
	"encoding/json"
	"fmt"
	"strings"
)

// T numbers the results of one program.
type T struct {
	results *int
	todo    string // said after each name
}

// New starts a program's results.
func New() *T { return &T{results: new(int)} }

// Todo is the same program, for results that are not expected to be good yet.
func (t *T) Todo() *T { return &T{results: t.results, todo: " # TODO"} }

// Header tells the protocol's version, and how many results follow if that is known.
func (t *T) Header(results int) {
	fmt.Println("TAP version 13")
	if results > 0 {
		fmt.Printf("1..%d\n", results)
	}
}

// Ok prints one result.
func (t *T) Ok(good bool, name string) {
	*t.results++
	verdict := "ok"
	if !good {
		verdict = "not ok"
	}
	fmt.Printf("%s %d - %s%s\n", verdict, *t.results, strings.ReplaceAll(name, "\n", " "), t.todo)
}

// Pass prints a good result.
func (t *T) Pass(name string) { t.Ok(true, name) }

// Fail prints a bad result.
func (t *T) Fail(name string) { t.Ok(false, name) }

// Skip prints results that could not be had.
func (t *T) Skip(results int, reason string) {
	for ; results > 0; results-- {
		t.Ok(true, "# SKIP "+reason)
	}
}

// AutoPlan tells afterwards how many results there were.
func (t *T) AutoPlan() { fmt.Printf("1..%d\n", *t.results) }

// Diagnostic prints a comment.
func (t *T) Diagnostic(text string) {
	fmt.Println("# " + strings.ReplaceAll(text, "\n", "\n# "))
}

// Diagnosticf prints a comment.
func (t *T) Diagnosticf(format string, values ...interface{}) {
	t.Diagnostic(fmt.Sprintf(format, values...))
}

// YAML prints what belongs to the last result; JSON is YAML.
func (t *T) YAML(value interface{}) error {
	text, err := json.Marshal(value)
	if err == nil {
		fmt.Printf("  ---\n  %s\n  ...\n", text)
	}
	return err
}
