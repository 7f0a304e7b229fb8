//! What the router lends a plugin, and the stand-ins where there is no router: native tests and benchmarks.

/// The tenant's log. Bounded by the router: what is over the bound is counted and dropped.
pub mod log {
    use std::fmt::Display;

    /// For whoever develops the plugin.
    pub fn debug(message: impl Display) {
        write("debug", &message.to_string());
    }

    /// Worth knowing.
    pub fn info(message: impl Display) {
        write("info", &message.to_string());
    }

    /// Something is odd, and the plugin went on.
    pub fn warn(message: impl Display) {
        write("warn", &message.to_string());
    }

    /// Something failed.
    pub fn error(message: impl Display) {
        write("error", &message.to_string());
    }

    fn write(level: &str, message: &str) {
        #[cfg(target_arch = "wasm32")]
        crate::bindings::common::jackfield::plugin::log::write(level, message);
        #[cfg(not(target_arch = "wasm32"))]
        eprintln!("{level}: {message}");
    }
}

/// Secrets bound to this plugin.
pub mod secrets {
    /// The secret of this name, where the tenant bound one. Never write it to the log.
    pub fn get(name: &str) -> Option<String> {
        #[cfg(target_arch = "wasm32")]
        return crate::bindings::common::jackfield::plugin::secrets::get(name);
        #[cfg(not(target_arch = "wasm32"))]
        {
            let _no_router_to_ask = name;
            None
        }
    }
}

/// The time that the router received the event.
pub mod clock {
    #[cfg(not(target_arch = "wasm32"))]
    thread_local! {
        static NOW_MS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }

    /// Milliseconds since the Unix epoch; constant within one call.
    pub fn now_ms() -> u64 {
        #[cfg(target_arch = "wasm32")]
        return crate::bindings::common::jackfield::plugin::clock::now_ms();
        #[cfg(not(target_arch = "wasm32"))]
        NOW_MS.get()
    }

    /// Sets what [`now_ms`] shows on this thread. For tests; 0 until then.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn set_now_ms(now_ms: u64) {
        NOW_MS.set(now_ms);
    }
}

/// Makes panics speak in the tenant's log, where they would otherwise show as a bare trap.
pub(crate) fn report_panics() {
    #[cfg(target_arch = "wasm32")]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| std::panic::set_hook(Box::new(|panic| log::error(panic))));
    }
}
