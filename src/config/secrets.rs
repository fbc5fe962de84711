//! Which settings are secret.

/// Values that never print, not even when they are wrong.
pub(super) fn is_secret(key: &str) -> bool {
    ["amqp.url", "redis.url", "api.key", "api.proxy", "download.proxy", "callback.secret"].contains(&key)
}
