//! Ports that nobody takes between a look and a server's start.

/// A free port outside the range that the kernel gives to outgoing connections, so that no test's client takes it meanwhile.
pub fn free_port() -> u16 {
    loop {
        let port = 20_000 + rand::random::<u16>() % 12_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
