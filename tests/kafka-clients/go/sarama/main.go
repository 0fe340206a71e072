// sarama: lines as in python/exchange.py.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/IBM/sarama"

	"millrace/kafka-clients/exchange"
)

const patience = 60 * time.Second

var codecs = map[string]sarama.CompressionCodec{
	"none":   sarama.CompressionNone,
	"gzip":   sarama.CompressionGZIP,
	"snappy": sarama.CompressionSnappy,
	"lz4":    sarama.CompressionLZ4,
	"zstd":   sarama.CompressionZSTD,
}

var levels = map[string]sarama.RequiredAcks{"0": sarama.NoResponse, "1": sarama.WaitForLocal, "all": sarama.WaitForAll}

func main() {
	verb, bootstrap := os.Args[1], os.Args[2]
	verbs := map[string]func(string){"produce": produce, "consume": consume, "offsets": offsets, "group": group, "admin": admin}
	verbs[verb](bootstrap)
}

func settings() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.V2_8_0_0
	config.Producer.Idempotent = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Net.MaxOpenRequests = 1
	return config
}

func encoder(text *string) sarama.Encoder {
	if text == nil {
		return nil
	}
	return sarama.ByteEncoder(exchange.Octets(text))
}

func produce(bootstrap string) {
	lines := exchange.Lines()
	places := make([]exchange.Place, len(lines))
	byKind := map[[2]string][]*sarama.ProducerMessage{}
	for number, line := range lines {
		message := &sarama.ProducerMessage{
			Topic: line.Topic, Partition: line.Partition, Timestamp: time.UnixMilli(line.Timestamp),
			Key: encoder(line.Key), Value: encoder(line.Value), Metadata: number,
		}
		for _, header := range line.Headers {
			message.Headers = append(message.Headers,
				sarama.RecordHeader{Key: []byte(*header[0]), Value: exchange.Octets(header[1])})
		}
		kind := [2]string{line.Codec, line.Acks}
		byKind[kind] = append(byKind[kind], message)
	}
	for kind, messages := range byKind {
		config := settings()
		config.Producer.Compression = codecs[kind[0]]
		config.Producer.RequiredAcks = levels[kind[1]]
		config.Producer.Idempotent = kind[1] == "all"
		producer, err := sarama.NewSyncProducer([]string{bootstrap}, config)
		exchange.Must(err)
		exchange.Must(producer.SendMessages(messages))
		for _, message := range messages {
			places[message.Metadata.(int)] = exchange.Place{Partition: message.Partition, Offset: message.Offset}
		}
		exchange.Must(producer.Close())
	}
	for _, place := range places {
		exchange.Say(place)
	}
}

func consume(bootstrap string) {
	consumer, err := sarama.NewConsumer([]string{bootstrap}, settings())
	exchange.Must(err)
	for _, line := range exchange.Lines() {
		reader, err := consumer.ConsumePartition(line.Topic, line.Partition, line.From)
		exchange.Must(err)
		for left := line.Count; left > 0; left-- {
			select {
			case record := <-reader.Messages():
				said := exchange.Record{
					Offset: record.Offset, Timestamp: record.Timestamp.UnixMilli(),
					Key: exchange.Text(record.Key), Value: exchange.Text(record.Value), Headers: [][2]*string{},
				}
				for _, header := range record.Headers {
					name := string(header.Key)
					said.Headers = append(said.Headers, [2]*string{&name, exchange.Text(header.Value)})
				}
				exchange.Say(said)
			case <-time.After(patience):
				exchange.Must(fmt.Errorf("%v: %d records are missing", line, left))
			}
		}
		exchange.Must(reader.Close())
	}
	exchange.Must(consumer.Close())
}

func offsets(bootstrap string) {
	client, err := sarama.NewClient([]string{bootstrap}, settings())
	exchange.Must(err)
	for _, line := range exchange.Lines() {
		at := sarama.OffsetNewest
		switch given := line.At.(type) {
		case float64:
			at = int64(given)
		case string:
			if given == "earliest" {
				at = sarama.OffsetOldest
			}
		}
		offset, err := client.GetOffset(line.Topic, line.Partition, at)
		exchange.Must(err)
		exchange.Say(map[string]int64{"offset": offset})
	}
	exchange.Must(client.Close())
}
