// Package exchange reads and writes the lines of python/exchange.py.
package exchange

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
)

// Line is one of the lines that a program is given.
type Line struct {
	Topic     string
	Codec     string
	Acks      string
	Partition int32
	Timestamp int64
	Key       *string
	Value     *string
	Headers   [][2]*string
	From      int64
	Count     int
	At        any

	Group    string
	Protocol string
	Assignor string

	Do         string
	Partitions int32
	Configs    map[string]string
	Before     int64
	Offset     int64
}

// Place is where a record came to lie.
type Place struct {
	Partition int32 `json:"partition"`
	Offset    int64 `json:"offset"`
}

// Record is what was read.
type Record struct {
	Offset    int64        `json:"offset"`
	Timestamp int64        `json:"timestamp"`
	Key       *string      `json:"key"`
	Value     *string      `json:"value"`
	Headers   [][2]*string `json:"headers"`
}

// Must ends the program with the error.
func Must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Lines reads standard input.
func Lines() []Line {
	var lines []Line
	decoder := json.NewDecoder(bufio.NewReader(os.Stdin))
	for decoder.More() {
		var line Line
		Must(decoder.Decode(&line))
		lines = append(lines, line)
	}
	return lines
}

// Octets are the bytes of a text; nil for null.
func Octets(text *string) []byte {
	if text == nil {
		return nil
	}
	octets, err := hex.DecodeString(*text)
	Must(err)
	return octets
}

// Text is the text of bytes; null for nil.
func Text(octets []byte) *string {
	if octets == nil {
		return nil
	}
	text := hex.EncodeToString(octets)
	return &text
}

// Say prints an answer.
func Say(answer any) {
	text, err := json.Marshal(answer)
	Must(err)
	fmt.Println(string(text))
}

// Joined is the line of a member, and what is closed when it is to leave.
func Joined() (Line, <-chan struct{}) {
	var line Line
	decoder := json.NewDecoder(os.Stdin)
	Must(decoder.Decode(&line))
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	return line, ended
}

// SayAssigned prints what a member holds.
func SayAssigned(partitions []int32) {
	slices.Sort(partitions)
	Say(map[string][]int32{"assigned": partitions})
}

// SayRead prints what a member has read.
func SayRead(partition int32, offset int64, value []byte) {
	Say(map[string]any{"partition": partition, "offset": offset, "value": Text(value)})
}

// AnswerEach answers each line as it comes with what the function of its name says of it.
func AnswerEach(answers map[string]func(Line) (map[string]any, error)) {
	decoder := json.NewDecoder(bufio.NewReader(os.Stdin))
	for {
		var line Line
		err := decoder.Decode(&line)
		if err == io.EOF {
			return
		}
		Must(err)
		answer, err := answers[line.Do](line)
		if err != nil {
			answer = map[string]any{"error": err.Error()}
		}
		if answer == nil {
			answer = map[string]any{}
		}
		Say(answer)
	}
}
