//! The operations, one file each.

pub(crate) mod alter_topics;
mod build_batch;
pub(crate) mod change_topics;
pub(crate) mod cluster;
pub(crate) mod create_partitions;
pub(crate) mod create_topic;
pub(crate) mod delete_offsets;
pub(crate) mod delete_records;
pub(crate) mod delete_topic;
pub(crate) mod describe_log_dir;
pub(crate) mod describe_producers;
pub(crate) mod describe_topic;
pub(crate) mod epoch_ends;
pub(crate) mod fetch;
pub(crate) mod group_lag;
pub(crate) mod group_offsets;
pub(crate) mod groups;
pub(crate) mod init_producer;
pub(crate) mod layout;
pub(crate) mod list_offsets;
pub(crate) mod produce;
pub(crate) mod ranges;
pub(crate) mod reset_group;
pub(crate) mod subscribe;
pub(crate) mod topic_configs;
pub(crate) mod topic_ref;
