//! Deletes a topic.
