//! The methods of the API, one file each: the wire's words to the broker's, the call, and back.

pub(crate) mod alter_topic;
pub(crate) mod commit_offsets;
pub(crate) mod create_partitions;
pub(crate) mod create_topic;
pub(crate) mod delete_group;
pub(crate) mod delete_records;
pub(crate) mod delete_topic;
pub(crate) mod describe_cluster;
pub(crate) mod describe_group;
pub(crate) mod describe_topic;
pub(crate) mod fetch;
pub(crate) mod fetch_offsets;
pub(crate) mod group_lag;
pub(crate) mod group_member;
pub(crate) mod init_producer;
pub(crate) mod list_groups;
pub(crate) mod list_offsets;
pub(crate) mod list_topics;
pub(crate) mod produce;
pub(crate) mod produce_stream;
pub(crate) mod reset_group_offsets;
pub(crate) mod subscribe;
