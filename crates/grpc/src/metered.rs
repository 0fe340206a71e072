//! One call as the metrics count it: its bytes as they pass, itself when it is over.

use std::sync::Arc;

use millrace_broker::{ApiMetrics, DoorMetrics};
use millrace_env::{Clock, Monotonic};

use crate::route::Route;

/// A call under way; counted when it is dropped, which is when its answer was written or its client has gone.
#[derive(Debug)]
pub(crate) struct Metered {
    api: ApiMetrics,
    clock: Arc<dyn Clock>,
    began: Monotonic,
    is_stream: bool,
}

impl Metered {
    pub(crate) fn begin(metrics: &DoorMetrics, route: Route, clock: &Arc<dyn Clock>) -> Metered {
        let (api, clock) = (metrics.api(route.name).clone(), Arc::clone(clock));
        let began = clock.monotonic();
        Metered { api, clock, began, is_stream: route.is_stream() }
    }

    pub(crate) fn api(&self) -> &ApiMetrics {
        &self.api
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        if self.is_stream {
            self.api.stream_ended();
        } else {
            self.api.answered(self.clock.monotonic().since(self.began).as_secs_f64());
        }
    }
}
