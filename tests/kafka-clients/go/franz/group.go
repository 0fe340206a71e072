package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/kafka-clients/exchange"
)

// held is what a member holds, said whenever it changes.
type held struct {
	sync.Mutex
	topic      string
	partitions []int32
}

func (h *held) more(_ context.Context, _ *kgo.Client, assigned map[string][]int32) {
	h.Lock()
	defer h.Unlock()
	h.partitions = append(h.partitions, assigned[h.topic]...)
	exchange.SayAssigned(slices.Clone(h.partitions))
}

func (h *held) fewer(_ context.Context, _ *kgo.Client, revoked map[string][]int32) {
	h.Lock()
	defer h.Unlock()
	gone := func(partition int32) bool { return slices.Contains(revoked[h.topic], partition) }
	h.partitions = slices.DeleteFunc(h.partitions, gone)
	exchange.SayAssigned(slices.Clone(h.partitions))
}

func group(bootstrap string) {
	line, ended := exchange.Joined()
	holds := &held{topic: line.Topic, partitions: []int32{}}
	ctx, leave := context.WithCancel(context.Background())
	go func() {
		<-ended
		leave()
	}()
	options := []kgo.Opt{kgo.ConsumerGroup(line.Group), kgo.ConsumeTopics(line.Topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.BlockRebalanceOnPoll(),
		kgo.HeartbeatInterval(300 * time.Millisecond), kgo.SessionTimeout(20 * time.Second),
		kgo.OnPartitionsAssigned(holds.more), kgo.OnPartitionsRevoked(holds.fewer), kgo.OnPartitionsLost(holds.fewer)}
	if line.Protocol == "consumer" {
		// Its own switch, until brokers have settled.
		wanted := context.WithValue(context.Background(), "opt_in_kafka_next_gen_balancer_beta", true)
		options = append(options, kgo.WithContext(wanted))
	}
	member := client(bootstrap, options...)
	for ctx.Err() == nil {
		deadline, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		fetches := member.PollFetches(deadline)
		cancel()
		records := fetches.Records()
		for _, record := range records {
			exchange.SayRead(record.Partition, record.Offset, record.Value)
		}
		if len(records) > 0 {
			// The group moves on, or the broker is away: what was not committed comes again.
			if err := member.CommitRecords(context.Background(), records...); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
		member.AllowRebalance()
	}
	member.CloseAllowingRebalance()
}
