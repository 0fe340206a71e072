package main

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"

	"millrace/kafka-clients/exchange"
)

func admin(bootstrap string) {
	asks := kadm.NewClient(client(bootstrap))
	ctx := context.Background()
	type object = map[string]any
	exchange.AnswerEach(map[string]func(exchange.Line) (object, error){
		"create": func(line exchange.Line) (object, error) {
			configs := map[string]*string{}
			for name, value := range line.Configs {
				configs[name] = &value
			}
			_, err := asks.CreateTopic(ctx, line.Partitions, -1, configs, line.Topic)
			return nil, err
		},
		"topics": func(line exchange.Line) (object, error) {
			found, err := asks.ListTopics(ctx)
			return object{"topics": found.Names()}, err
		},
		"describe": func(line exchange.Line) (object, error) {
			found, err := asks.ListTopics(ctx, line.Topic)
			if err == nil {
				err = found.Error()
			}
			return object{"partitions": len(found[line.Topic].Partitions)}, err
		},
		"grow": func(line exchange.Line) (object, error) {
			found, err := asks.UpdatePartitions(ctx, int(line.Partitions), line.Topic)
			if err == nil {
				err = found.Error()
			}
			return nil, err
		},
		"configs": func(line exchange.Line) (object, error) {
			found, err := asks.DescribeTopicConfigs(ctx, line.Topic)
			if err != nil {
				return nil, err
			}
			configs := object{}
			for _, config := range found[0].Configs {
				configs[config.Key] = config.Value
			}
			return object{"configs": configs}, found[0].Err
		},
		"alter": func(line exchange.Line) (object, error) {
			var changes []kadm.AlterConfig
			for name, value := range line.Configs {
				changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value})
			}
			found, err := asks.AlterTopicConfigs(ctx, changes, line.Topic)
			if err == nil {
				err = found[0].Err
			}
			return nil, err
		},
		"trim": func(line exchange.Line) (object, error) {
			before := kadm.Offsets{}
			before.AddOffset(line.Topic, line.Partition, line.Before, -1)
			found, err := asks.DeleteRecords(ctx, before)
			if err == nil {
				err = found.Error()
			}
			trimmed, _ := found.Lookup(line.Topic, line.Partition)
			return object{"low": trimmed.LowWatermark}, err
		},
		"groups": func(line exchange.Line) (object, error) {
			found, err := asks.ListGroups(ctx)
			return object{"groups": found.Groups()}, err
		},
		"group": func(line exchange.Line) (object, error) {
			newer, err := asks.DescribeConsumerGroups(ctx, line.Group)
			if described := newer[line.Group]; err == nil && described.Err == nil {
				return object{"state": described.State, "members": len(described.Members)}, nil
			}
			found, err := asks.DescribeGroups(ctx, line.Group)
			described := found[line.Group]
			if err == nil {
				err = described.Err
			}
			return object{"state": described.State, "members": len(described.Members)}, err
		},
		"offsets": func(line exchange.Line) (object, error) {
			found, err := asks.FetchOffsets(ctx, line.Group)
			offsets := [][]any{}
			found.Each(func(one kadm.OffsetResponse) {
				offsets = append(offsets, []any{one.Topic, one.Partition, one.At})
			})
			return object{"offsets": offsets}, err
		},
		"move": func(line exchange.Line) (object, error) {
			to := kadm.Offsets{}
			to.AddOffset(line.Topic, line.Partition, line.Offset, -1)
			return nil, asks.CommitAllOffsets(ctx, line.Group, to)
		},
		"forget": func(line exchange.Line) (object, error) {
			_, err := asks.DeleteGroup(ctx, line.Group)
			return nil, err
		},
		"delete": func(line exchange.Line) (object, error) {
			_, err := asks.DeleteTopic(ctx, line.Topic)
			return nil, err
		},
		"cluster": func(line exchange.Line) (object, error) {
			found, err := asks.BrokerMetadata(ctx)
			if err == nil && len(found.Brokers) == 0 {
				err = fmt.Errorf("no brokers")
			}
			return object{"brokers": len(found.Brokers)}, err
		},
	})
	asks.Close()
}
