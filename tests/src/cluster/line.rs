//! The command line of a broker of a cluster, and its addresses.

use std::path::Path;

use super::net::Lab;
use crate::broker::BrokerSetup;

const GRPC: u16 = 7070;
const KAFKA: u16 = 19_092;
const HTTP: u16 = 7080;
const INTERNAL: u16 = 7090;

/// Where a broker's native door is.
pub(super) fn grpc(lab: &Lab, number: u8) -> String {
    format!("{}:{GRPC}", lab.address(number))
}

/// Where its Kafka door is.
pub(super) fn kafka(lab: &Lab, number: u8) -> String {
    format!("{}:{KAFKA}", lab.address(number))
}

/// How a broker is started: the first founds the cluster, the others join it. Who is alone is no cluster.
pub(super) fn setup(lab: &Lab, number: u8, count: u8, folders: (&Path, &Path)) -> BrokerSetup {
    let (data_dir, log_file) = folders;
    let internal = |number: u8| format!("{}:{INTERNAL}", lab.address(number));
    let mut args = vec!["--node-id".to_owned(), number.to_string(), "--insecure-listen".to_owned()];
    if count > 1 {
        args.extend(["--internal".to_owned(), internal(number)]);
    }
    if number > 1 {
        let others = (1..=count).filter(|other| *other != number).map(internal);
        args.extend(["--join".to_owned(), others.collect::<Vec<_>>().join(",")]);
    }
    BrokerSetup {
        grpc: grpc(lab, number),
        kafka: kafka(lab, number),
        http: format!("{}:{HTTP}", lab.address(number)),
        args,
        within: lab.within(number),
        ..BrokerSetup::new(data_dir, log_file)
    }
}
