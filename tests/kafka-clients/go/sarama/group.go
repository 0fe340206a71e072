package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/IBM/sarama"

	"millrace/kafka-clients/exchange"
)

// member says what it holds and reads.
type member struct {
	topic string
}

func (m member) Setup(session sarama.ConsumerGroupSession) error {
	exchange.SayAssigned(slices.Clone(session.Claims()[m.topic]))
	return nil
}

func (m member) Cleanup(session sarama.ConsumerGroupSession) error {
	session.Commit()
	exchange.SayAssigned([]int32{})
	return nil
}

func (m member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case record, open := <-claim.Messages():
			if !open {
				return nil
			}
			exchange.SayRead(record.Partition, record.Offset, record.Value)
			session.MarkMessage(record, "")
			if len(claim.Messages()) == 0 {
				session.Commit()
			}
		case <-session.Context().Done():
			return nil
		}
	}
}

func group(bootstrap string) {
	line, ended := exchange.Joined()
	config := settings()
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	config.Consumer.Group.Session.Timeout = 20 * time.Second
	config.Consumer.MaxWaitTime = 250 * time.Millisecond
	config.Consumer.Return.Errors = false
	config.Metadata.Retry.Max = 60
	config.Consumer.Group.Rebalance.Retry.Max = 60
	config.Consumer.Group.Rebalance.Retry.Backoff = 200 * time.Millisecond
	joins, err := sarama.NewConsumerGroup([]string{bootstrap}, line.Group, config)
	exchange.Must(err)
	ctx, leave := context.WithCancel(context.Background())
	go func() {
		<-ended
		leave()
	}()
	for ctx.Err() == nil {
		if err := joins.Consume(ctx, []string{line.Topic}, member{line.Topic}); err != nil {
			// The broker is away: again.
			fmt.Fprintln(os.Stderr, err)
		}
	}
	exchange.Must(joins.Close())
}
