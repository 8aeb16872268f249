//! Amazon's Route 53 as moto has it, with a zone; and a way to it on which an answer, or part of a request, goes wrong.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use super::{
    LoopbackAddress, Scratch,
    foreign::fetched,
    server::{Server, run},
};

/// Asks by Amazon's own client: makes the zone and its records, or prints those that are there but NS and SOA.
const CLIENT: &str = r#"
import boto3, json, sys
endpoint, verb, zone = sys.argv[1:4]
client = boto3.client("route53", endpoint_url=endpoint, region_name="us-east-1",
                      aws_access_key_id="boto", aws_secret_access_key="boto")
if verb == "make":
    made = client.create_hosted_zone(Name=zone, CallerReference="lab")["HostedZone"]["Id"]
    for name, kind, ttl, values in json.loads(sys.argv[4]):
        records = [{"Value": value} for value in values]
        record = {"Name": name, "Type": kind, "TTL": ttl, "ResourceRecords": records}
        changes = {"Changes": [{"Action": "CREATE", "ResourceRecordSet": record}]}
        client.change_resource_record_sets(HostedZoneId=made, ChangeBatch=changes)
else:
    made = client.list_hosted_zones()["HostedZones"][0]["Id"]
    for found in client.list_resource_record_sets(HostedZoneId=made)["ResourceRecordSets"]:
        if found["Type"] not in ("NS", "SOA"):
            for record in found["ResourceRecords"]:
                print(found["Name"], found["TTL"], found["Type"], record["Value"])
"#;

/// What happens on the way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Nothing.
    Nothing,
    /// Every request is answered so, and reaches nobody.
    Answers(&'static str),
    /// The next change lacks the records with this in their value; it is told as done.
    Loses(&'static str),
    /// Every change is told as done, and reaches nobody.
    Swallows,
}

/// A running moto_server with one zone, and the way to it.
pub struct Moto {
    _server: Server,
    server: SocketAddr,
    way: SocketAddr,
    broken: Arc<Mutex<Broken>>,
    heads: Arc<Mutex<String>>,
}

impl Moto {
    /// Starts it on the address; records are name, type, TTL, values.
    pub fn start(
        scratch: &Scratch,
        address: &LoopbackAddress,
        zone: &str,
        records: &serde_json::Value,
    ) -> Self {
        let (server, way) = (address.port(5000), address.port(5001));
        let mut command = Command::new(program("moto_server"));
        command.args(["-H", &address.ip().to_string(), "-p", "5000"]);
        let mut running = Server::spawn(scratch, "moto", &mut command);
        running.wait_for(server);
        client(server, &["make", zone, &records.to_string()]);
        let (broken, heads) = (Arc::new(Mutex::new(Broken::Nothing)), Arc::default());
        let listener = TcpListener::bind(way).unwrap();
        let (seen, kept) = (Arc::clone(&broken), Arc::clone(&heads));
        // Ends with the test's process: nobody connects after the test.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = hand_on(stream, server, &seen, &kept);
            }
        });
        Self {
            _server: running,
            server,
            way,
            broken,
            heads,
        }
    }

    /// Returns the URL that is to be asked.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.way)
    }

    /// Has the way be like this from now on.
    pub fn breaks(&self, how: Broken) {
        *self.broken.lock().unwrap() = how;
    }

    /// Returns how the way is now: what happens once has happened when it is whole again.
    pub fn broken(&self) -> Broken {
        *self.broken.lock().unwrap()
    }

    /// Returns the heads of all requests so far.
    pub fn heads(&self) -> String {
        self.heads.lock().unwrap().clone()
    }

    /// Returns the records but NS and SOA, as `NAME TTL TYPE VALUE`, sorted.
    pub fn records(&self) -> Vec<String> {
        let text = client(self.server, &["list", ""]);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

/// Returns a program of moto's virtual environment.
fn program(name: &str) -> PathBuf {
    fetched("moto/version").with_file_name("bin").join(name)
}

fn client(server: SocketAddr, args: &[&str]) -> String {
    run(Command::new(program("python"))
        .args(["-c", CLIENT, &format!("http://{server}")])
        .args(args)
        .stdin(Stdio::null()))
}

/// Hands one request on, and its answer back.
fn hand_on(
    mut stream: TcpStream,
    server: SocketAddr,
    broken: &Mutex<Broken>,
    heads: &Mutex<String>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let lower = line.to_ascii_lowercase();
        if let Some(text) = lower.strip_prefix("content-length:") {
            length = text.trim().parse().unwrap_or(0);
        } else if line == "\r\n" {
            break;
        } else if !lower.starts_with("connection:") {
            head += &line;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut body = String::from_utf8_lossy(&body).into_owned();
    heads.lock().unwrap().push_str(&head);
    let is_change = head.starts_with("POST ");
    let how = *broken.lock().unwrap();
    match how {
        Broken::Answers(status) => {
            let body = format!("<ErrorResponse>{status}</ErrorResponse>");
            return answer(&mut stream, status, &body);
        }
        Broken::Swallows if is_change => return answer(&mut stream, "200 OK", "<ChangeInfo/>"),
        Broken::Loses(what) if is_change => {
            let mut parts = body.split("<ResourceRecord>");
            let first = parts.next().unwrap_or_default().to_owned();
            let end = body
                .rfind("</ResourceRecords>")
                .map(|at| body[at..].to_owned())
                .unwrap_or_default();
            let kept = parts.filter(|part| !part.contains(what)).map(|part| {
                format!(
                    "<ResourceRecord>{}",
                    part.split("</ResourceRecords>").next().unwrap()
                )
            });
            body = first + &kept.collect::<String>() + &end;
            *broken.lock().unwrap() = Broken::Nothing;
        }
        _ => {}
    }
    let mut onward = TcpStream::connect(server)?;
    write!(
        onward,
        "{head}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answered = String::new();
    onward.read_to_string(&mut answered)?;
    // What Amazon always says, and moto leaves out of this one answer; it ends with the connection then.
    if head.contains("/hostedzonesbyname") && !answered.contains("<IsTruncated>") {
        let end = "</ListHostedZonesByNameResponse>";
        answered = answered
            .replace(
                end,
                &format!("<IsTruncated>false</IsTruncated><MaxItems>100</MaxItems>{end}"),
            )
            .replace("Content-Length:", "X-Length:");
    }
    stream.write_all(answered.as_bytes())
}

fn answer(stream: &mut TcpStream, status: &str, body: &str) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
