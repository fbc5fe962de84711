//! `redis-sentinel://`: the servers that know where Redis is. The notation is that of Lettuce, a Java client, with
//! the parameter names that other clients use for the sentinels' own login.

use url::Url;

use super::Server;

const PORT: u16 = 26_379;

/// `redis-sentinel://[user:password@]host[:port][,host…][/db][?sentinel_username=…&sentinel_password=…]#name`
#[derive(Clone)]
pub struct Sentinels {
    pub servers: Vec<Server>,
    /// The sentinels' name for the Redis server.
    pub name: String,
    /// `rediss-sentinel`: TLS to them, and to Redis.
    pub tls: bool,
    /// The login at Redis, and its database, as a URL with a host that means nothing.
    pub login: Url,
    /// The login at the sentinels, in the same form.
    pub own_login: Url,
}

impl Sentinels {
    /// # Errors
    ///
    /// Why the text is not such a URL. It continues "must", and quotes nothing from the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let notation = "be redis-sentinel://[user:password@]host[:port],host[:port]/db#name";
        let wrong = |why: &str| format!("must {notation}: {why}");
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("it is no URL"))?;
        let (rest, name) = rest.rsplit_once('#').ok_or_else(|| {
            wrong("the name behind # is missing, by which the sentinels know the Redis (\"sentinel monitor NAME …\")")
        })?;
        if name.is_empty() {
            return Err(wrong("the name behind # is empty"));
        }
        let (login, rest) = rest.rsplit_once('@').map_or(("", rest), |(login, rest)| (login, rest));
        let (hosts, behind) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let servers: Result<Vec<Server>, String> = hosts
            .split(',')
            .map(|host| {
                let url =
                    Url::parse(&format!("redis://{host}")).map_err(|error| wrong(&error.to_string()))?;
                Server::of(&url, PORT).ok_or_else(|| wrong("it names no host"))
            })
            .collect();
        let at = if login.is_empty() { String::new() } else { format!("{login}@") };
        let login = Url::parse(&format!("redis://{at}redis{behind}"));
        let mut login = login.map_err(|_| wrong("percent-encode special characters in a password"))?;
        let parameter = |name: &str| {
            login.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        let (user, password) = (parameter("sentinel_username"), parameter("sentinel_password"));
        let mut own_login = Url::parse("redis://sentinel").map_err(|error| wrong(&error.to_string()))?;
        // A URL with an opaque host accepts both.
        let _ = own_login.set_username(&user.unwrap_or_default());
        let _ = own_login.set_password(password.as_deref());
        login.set_query(None);
        Ok(Self {
            servers: servers?,
            name: name.to_owned(),
            tls: scheme == "rediss-sentinel",
            login,
            own_login,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notation_is_read_in_all_its_parts() {
        let text = "redis-sentinel://me:pa%23ss@a,[::1]:7/3?sentinel_password=s3&sentinel_username=look#main";
        let read = Sentinels::parse(text).unwrap();
        let shown: Vec<String> = read.servers.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["a:26379", "[::1]:7"]);
        assert_eq!((read.name.as_str(), read.tls), ("main", false));
        assert_eq!(read.login.as_str(), "redis://me:pa%23ss@redis/3");
        assert_eq!(read.own_login.as_str(), "redis://look:s3@sentinel");
        assert!(Sentinels::parse("rediss-sentinel://a#m").unwrap().tls);
    }

    #[test]
    fn what_is_missing_is_said_and_no_password_repeated() {
        for text in [
            "redis-sentinel://:S3cret@a:1/0",
            "redis-sentinel://:S3cret@a:1/0#",
            "redis-sentinel://:S3cret@#m",
            "redis-sentinel://:S3cret@a:x#m",
        ] {
            let why = Sentinels::parse(text).map(|_| ()).unwrap_err();
            assert!(why.contains("redis-sentinel://") && !why.contains("S3cret"), "{why}");
        }
    }
}
