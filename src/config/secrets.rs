//! Which settings are secret.

/// Whether the value is never printed, not even if it is wrong.
pub(super) fn is_secret(key: &str) -> bool {
    let secrets =
        ["amqp.url", "redis.url", "api.key", "api.proxy", "download.proxy", "callback.secret", "admin.token"];
    secrets.contains(&key)
}
