//! What an answer costs of the memory budget while it grows.

use millrace_broker::ApiError;

use crate::request_memory::RequestMemory;

/// Answers that take no more than this are within what every request pays for.
const UNPAID_BYTES_MAX: usize = 32 * 1024;

/// Paid in part as the answer grows, and settled when it is encoded.
pub(crate) struct Bill<'a> {
    memory: &'a mut RequestMemory,
    unpaid: usize,
    paid: usize,
}

impl<'a> Bill<'a> {
    pub(crate) fn new(memory: &'a mut RequestMemory) -> Bill<'a> {
        Bill { memory, unpaid: 0, paid: 0 }
    }

    /// The answer takes so many bytes more.
    ///
    /// # Errors
    /// They are not to be had.
    pub(crate) async fn add(&mut self, bytes: usize) -> Result<(), ApiError> {
        self.unpaid += bytes;
        if self.unpaid > UNPAID_BYTES_MAX {
            self.memory.more(self.unpaid).await?;
            self.paid += std::mem::take(&mut self.unpaid);
        }
        Ok(())
    }

    /// What was answered is gone but for its encoding, which is so long.
    pub(crate) fn settle(self, bytes: usize) {
        self.memory.give_back(self.paid.saturating_sub(bytes));
    }
}
