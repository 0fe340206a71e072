package main

import (
	"errors"

	"github.com/IBM/sarama"

	"millrace/kafka-clients/exchange"
)

func admin(bootstrap string) {
	asks, err := sarama.NewClusterAdmin([]string{bootstrap}, settings())
	exchange.Must(err)
	type object = map[string]any
	exchange.AnswerEach(map[string]func(exchange.Line) (object, error){
		"create": func(line exchange.Line) (object, error) {
			configs := map[string]*string{}
			for name, value := range line.Configs {
				configs[name] = &value
			}
			detail := &sarama.TopicDetail{NumPartitions: line.Partitions, ReplicationFactor: 1, ConfigEntries: configs}
			return nil, asks.CreateTopic(line.Topic, detail, false)
		},
		"topics": func(line exchange.Line) (object, error) {
			found, err := asks.ListTopics()
			names := []string{}
			for name := range found {
				names = append(names, name)
			}
			return object{"topics": names}, err
		},
		"describe": func(line exchange.Line) (object, error) {
			found, err := asks.DescribeTopics([]string{line.Topic})
			if err == nil && found[0].Err != sarama.ErrNoError {
				err = found[0].Err
			}
			if err != nil {
				return nil, err
			}
			return object{"partitions": len(found[0].Partitions)}, nil
		},
		"grow": func(line exchange.Line) (object, error) {
			return nil, asks.CreatePartitions(line.Topic, line.Partitions, nil, false)
		},
		"configs": func(line exchange.Line) (object, error) {
			found, err := asks.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: line.Topic})
			configs := object{}
			for _, config := range found {
				configs[config.Name] = config.Value
			}
			return object{"configs": configs}, err
		},
		"alter": func(line exchange.Line) (object, error) {
			changes := map[string]sarama.IncrementalAlterConfigsEntry{}
			for name, value := range line.Configs {
				changes[name] = sarama.IncrementalAlterConfigsEntry{
					Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value,
				}
			}
			return nil, asks.IncrementalAlterConfig(sarama.TopicResource, line.Topic, changes, false)
		},
		"trim": func(line exchange.Line) (object, error) {
			if err := asks.DeleteRecords(line.Topic, map[int32]int64{line.Partition: line.Before}); err != nil {
				return nil, err
			}
			places := map[string]map[int32]int64{line.Topic: {line.Partition: sarama.OffsetOldest}}
			found, err := asks.ListOffsets(places, nil)
			if err != nil {
				return nil, err
			}
			return object{"low": found[line.Topic][line.Partition].Offset}, nil
		},
		"groups": func(line exchange.Line) (object, error) {
			found, err := asks.ListConsumerGroups()
			names := []string{}
			for name := range found {
				names = append(names, name)
			}
			return object{"groups": names}, err
		},
		"group": func(line exchange.Line) (object, error) {
			found, err := asks.DescribeConsumerGroups([]string{line.Group})
			if err == nil && found[0].Err != sarama.ErrNoError {
				err = found[0].Err
			}
			if err != nil {
				return nil, err
			}
			return object{"state": found[0].State, "members": len(found[0].Members)}, nil
		},
		"offsets": func(line exchange.Line) (object, error) {
			found, err := asks.ListConsumerGroupOffsets(line.Group, nil)
			if err == nil && found.Err != sarama.ErrNoError {
				err = found.Err
			}
			if err != nil {
				return nil, err
			}
			offsets := [][]any{}
			for topic, partitions := range found.Blocks {
				for partition, block := range partitions {
					offsets = append(offsets, []any{topic, partition, block.Offset})
				}
			}
			return object{"offsets": offsets}, nil
		},
		"move": func(line exchange.Line) (object, error) {
			to := map[string]map[int32]sarama.OffsetAndMetadata{line.Topic: {line.Partition: {Offset: line.Offset, LeaderEpoch: -1}}}
			answer, err := asks.AlterConsumerGroupOffsets(line.Group, to, nil)
			if err != nil {
				return nil, err
			}
			for _, partitions := range answer.Errors {
				for _, code := range partitions {
					if code != sarama.ErrNoError {
						return nil, code
					}
				}
			}
			return nil, nil
		},
		"forget": func(line exchange.Line) (object, error) {
			return nil, asks.DeleteConsumerGroup(line.Group)
		},
		"delete": func(line exchange.Line) (object, error) {
			return nil, asks.DeleteTopic(line.Topic)
		},
		"cluster": func(line exchange.Line) (object, error) {
			found, _, err := asks.DescribeCluster()
			if err == nil && len(found) == 0 {
				err = errors.New("no brokers")
			}
			return object{"brokers": len(found)}, err
		},
	})
	exchange.Must(asks.Close())
}
