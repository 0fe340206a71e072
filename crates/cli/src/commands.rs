//! One file per verb.

mod bench;
mod cluster;
mod completions;
mod config;
mod consume;
mod delete_records;
mod group;
mod log_files;
mod moving;
mod offsets;
mod produce;
mod repair;
mod serve;
mod topic;

use std::time::Duration;

use anyhow::Context as _;
use millrace_client::{Client, ClientError, ClientOptions};
use millrace_env::real;

use crate::args::{Cli, Command, LogCommand, RepairCommand};
use crate::{demo, dev_cluster, exit};

/// How long a tool waits for an answer, or for a broker that went away, before it gives up.
const TOOL_PATIENCE: Duration = Duration::from_secs(10);
/// How long it looks for a broker at first.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);

/// Runs the verb and answers the exit code.
///
/// # Errors
/// What is to be printed; the exit code is then [`exit::FAILURE`].
pub(crate) async fn run(cli: Cli) -> anyhow::Result<u8> {
    let servers = cli.server;
    match cli.command {
        Command::Serve(args) => return serve::run(args).await,
        Command::Demo(args) if args.worker => demo::worker::run(&connect(&servers).await?).await?,
        Command::Demo(args) => return demo::run(args).await,
        Command::DevCluster(args) => return dev_cluster::run(args).await,
        Command::Config(args) => config::run(&args)?,
        Command::Completions { shell } => completions::run(shell)?,
        Command::Log(LogCommand::Dump { path, records, format }) => {
            log_files::dump(&path, records, format)?;
        }
        Command::Log(LogCommand::Verify { path, format }) => return log_files::verify(&path, format),
        Command::Repair(RepairCommand::Metadata(args)) => repair::metadata(&args)?,
        Command::Cluster(command) => return cluster::run(&connect(&servers).await?, command).await,
        Command::Topic(command) => topic::run(&connect(&servers).await?, command).await?,
        Command::Produce(args) => produce::run(&connect(&servers).await?, args).await?,
        Command::Consume(args) => consume::run(&connect(&servers).await?, args).await?,
        Command::DeleteRecords(args) => delete_records::run(&connect(&servers).await?, args).await?,
        Command::Group(command) => group::run(&connect(&servers).await?, command).await?,
        Command::Offsets(args) => offsets::run(&connect(&servers).await?, args).await?,
        Command::Bench(command) => bench::run(&servers, command).await?,
    }
    Ok(exit::SUCCESS)
}

/// A client of the first broker that answers. One that has just been started gets a moment to come up.
async fn connect(servers: &[String]) -> anyhow::Result<Client> {
    let options = ClientOptions {
        client_id: "millrace-cli".to_owned(),
        request_timeout: TOOL_PATIENCE,
        ..ClientOptions::default()
    };
    let clock = real::env().clock;
    let deadline = clock.monotonic().after(CONNECT_PATIENCE);
    loop {
        match Client::connect(servers, options.clone()).await {
            Err(ClientError::Unreachable { .. }) if clock.monotonic() < deadline => {
                clock.sleep(CONNECT_PAUSE).await;
            }
            connected => return connected.with_context(|| format!("--server {}", servers.join(","))),
        }
    }
}
