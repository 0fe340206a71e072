// franz-go: lines as in python/exchange.py.
package main

import (
	"context"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/kafka-clients/exchange"
)

const patience = 60 * time.Second

var codecs = map[string]kgo.CompressionCodec{
	"none":   kgo.NoCompression(),
	"gzip":   kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(),
	"lz4":    kgo.Lz4Compression(),
	"zstd":   kgo.ZstdCompression(),
}

var levels = map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()}

func main() {
	verb, bootstrap := os.Args[1], os.Args[2]
	verbs := map[string]func(string){"produce": produce, "consume": consume, "offsets": offsets, "group": group, "admin": admin}
	verbs[verb](bootstrap)
}

func client(bootstrap string, options ...kgo.Opt) *kgo.Client {
	client, err := kgo.NewClient(append(options, kgo.SeedBrokers(bootstrap), kgo.AllowAutoTopicCreation())...)
	exchange.Must(err)
	return client
}

func produce(bootstrap string) {
	lines := exchange.Lines()
	places := make([]exchange.Place, len(lines))
	producers := map[[2]string]*kgo.Client{}
	for number, line := range lines {
		kind := [2]string{line.Codec, line.Acks}
		producer, known := producers[kind]
		if !known {
			options := []kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RequiredAcks(levels[line.Acks]),
				kgo.ProducerBatchCompression(codecs[line.Codec]), kgo.ProducerLinger(20 * time.Millisecond)}
			if line.Acks != "all" {
				options = append(options, kgo.DisableIdempotentWrite())
			}
			producer = client(bootstrap, options...)
			producers[kind] = producer
		}
		record := &kgo.Record{
			Topic: line.Topic, Partition: line.Partition, Timestamp: time.UnixMilli(line.Timestamp),
			Key: exchange.Octets(line.Key), Value: exchange.Octets(line.Value),
		}
		for _, header := range line.Headers {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: *header[0], Value: exchange.Octets(header[1])})
		}
		producer.Produce(context.Background(), record, func(record *kgo.Record, err error) {
			exchange.Must(err)
			places[number] = exchange.Place{Partition: record.Partition, Offset: record.Offset}
		})
	}
	for _, producer := range producers {
		exchange.Must(producer.Flush(context.Background()))
		producer.Close()
	}
	for _, place := range places {
		exchange.Say(place)
	}
}

func consume(bootstrap string) {
	for _, line := range exchange.Lines() {
		from := kgo.NewOffset().At(line.From)
		reader := client(bootstrap, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{line.Topic: {line.Partition: from}}))
		for left := line.Count; left > 0; {
			deadline, cancel := context.WithTimeout(context.Background(), patience)
			fetches := reader.PollRecords(deadline, left)
			cancel()
			exchange.Must(fetches.Err())
			for _, record := range fetches.Records() {
				said := exchange.Record{
					Offset: record.Offset, Timestamp: record.Timestamp.UnixMilli(),
					Key: exchange.Text(record.Key), Value: exchange.Text(record.Value), Headers: [][2]*string{},
				}
				for _, header := range record.Headers {
					said.Headers = append(said.Headers, [2]*string{&header.Key, exchange.Text(header.Value)})
				}
				exchange.Say(said)
				left--
			}
		}
		reader.Close()
	}
}

func offsets(bootstrap string) {
	admin := kadm.NewClient(client(bootstrap))
	ctx := context.Background()
	for _, line := range exchange.Lines() {
		var listed kadm.ListedOffsets
		var err error
		switch at := line.At.(type) {
		case float64:
			listed, err = admin.ListOffsetsAfterMilli(ctx, int64(at), line.Topic)
		case string:
			if at == "earliest" {
				listed, err = admin.ListStartOffsets(ctx, line.Topic)
			} else {
				listed, err = admin.ListEndOffsets(ctx, line.Topic)
			}
		}
		exchange.Must(err)
		found, _ := listed.Lookup(line.Topic, line.Partition)
		exchange.Must(found.Err)
		// Where there is nothing so late, kadm answers the end; its time says so.
		if _, timed := line.At.(float64); timed && found.Timestamp == -1 {
			found.Offset = -1
		}
		exchange.Say(map[string]int64{"offset": found.Offset})
	}
	admin.Close()
}
