//! Records against a mirror of themselves, which says whatever a test wants it to.

use proptest::prelude::*;
use rustls::ConnectionTrafficSecrets;
use rustls::crypto::cipher::{AeadKey, Iv};

use super::*;

const CHANGE_CIPHER_SPEC: u8 = 20;
const HELLO: [u8; 6] = [CLIENT_HELLO, 0, 0, 2, 3, 3];

/// Records, by the type of their content and the content.
type Heard = Vec<(u8, Vec<u8>)>;

/// Keys of AES-256-GCM or ChaCha20-Poly1305, made of `seed`.
fn keys(is_tls13: bool, is_gcm: bool, seed: u8) -> Keys {
    let (key, iv) = (AeadKey::from([seed; 32]), Iv::from([seed + 1; 12]));
    let (secrets, secret_bytes) = match is_gcm {
        true => (ConnectionTrafficSecrets::Aes256Gcm { key, iv }, 48),
        false => (ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }, 32),
    };
    let secret = vec![seed; secret_bytes];
    Keys::new(0, &secrets, is_tls13.then_some(&secret)).unwrap()
}

/// What is tested, and what its peer sends and receives by.
struct Pair {
    records: Records,
    peer: Keys,
    hears: Keys,
}

impl Pair {
    fn new(is_tls13: bool, is_gcm: bool) -> Self {
        let of = |seed| keys(is_tls13, is_gcm, seed);
        Self {
            records: Records::new(of(1), of(2)),
            peer: of(1),
            hears: of(2),
        }
    }

    fn all() -> [(bool, bool); 4] {
        [(true, true), (true, false), (false, true), (false, false)]
    }

    /// One record of the peer's.
    fn say(&mut self, content_type: u8, content: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        self.peer
            .seal(content_type, iter::once(content), &mut record);
        record
    }

    /// What is read, or what is wrong; and what is answered, by type and content.
    fn read(&mut self, mut bytes: Vec<u8>) -> (Result<Vec<u8>, Error>, Heard) {
        let (mut plaintext, mut out) = (Vec::new(), Vec::new());
        let read = self.records.read(&mut bytes, &mut plaintext, &mut out);
        let heard = read
            .is_closed
            .map(|_| plaintext)
            .map_err(|fault| fault.error);
        (heard, self.hear(&out))
    }

    fn hear(&mut self, out: &[u8]) -> Heard {
        let (mut heard, mut rest) = (Vec::new(), out.to_vec());
        while !rest.is_empty() {
            let length = usize::from(u16::from_be_bytes([rest[3], rest[4]]));
            let mut payload = rest.split_off(HEADER_BYTES);
            let after = payload.split_off(length);
            let opened = self.hears.open(rest[0], &mut payload).unwrap();
            let content = payload[opened.content].to_vec();
            if opened.content_type == HANDSHAKE && content == [24, 0, 0, 1, 0] {
                self.hears.update();
            }
            heard.push((opened.content_type, content));
            rest = after;
        }
        heard
    }
}

#[test]
fn keys_at_rest_are_small() {
    println!("{:5}  keys of a direction", size_of::<Keys>());
    println!("{:5}  records of a session", size_of::<Records>());
    assert!(size_of::<Keys>() <= 136 && size_of::<Records>() <= 296);
}

#[test]
fn faults_end_the_session_with_their_alert() {
    use AlertDescription as Alert;
    let too_long = [23, 3, 3, 0x41, 1].to_vec();
    type Say = fn(&mut Pair) -> Vec<u8>;
    let always: [(Say, Alert); 8] = [
        (
            |pair| pair.say(CHANGE_CIPHER_SPEC, &[1]),
            Alert::UnexpectedMessage,
        ),
        (|pair| pair.say(99, b"?"), Alert::UnexpectedMessage),
        (|pair| pair.say(HANDSHAKE, &[]), Alert::UnexpectedMessage),
        (
            |pair| pair.say(HANDSHAKE, &[20, 0, 0, 0]),
            Alert::UnexpectedMessage,
        ),
        (|pair| pair.say(ALERT, &[WARNING]), Alert::DecodeError),
        (|pair| pair.say(ALERT, &[3, 0]), Alert::IllegalParameter),
        (
            |_| [&[23, 3, 3, 0, 40][..], &[7; 40]].concat(),
            Alert::BadRecordMac,
        ),
        (|_| vec![23, 3, 3, 0, 0], Alert::BadRecordMac),
    ];
    let tls13: [(Say, Alert); 7] = [
        // In the clear.
        (|_| vec![ALERT, 3, 3, 0, 2, 1, 0], Alert::UnexpectedMessage),
        (
            |_| vec![CHANGE_CIPHER_SPEC, 3, 3, 0, 1, 1],
            Alert::UnexpectedMessage,
        ),
        // Nothing but padding.
        (|pair| pair.say(0, &[0; 5]), Alert::UnexpectedMessage),
        // An update of keys that is not the last of its record, or asks for what there is not.
        (
            |pair| pair.say(HANDSHAKE, &[24, 0, 0, 1, 0, 24]),
            Alert::UnexpectedMessage,
        ),
        (
            |pair| pair.say(HANDSHAKE, &[24, 0, 0, 1, 2]),
            Alert::IllegalParameter,
        ),
        (
            |pair| pair.say(HANDSHAKE, &[24, 0, 0, 2]),
            Alert::UnexpectedMessage,
        ),
        (|pair| pair.say(HANDSHAKE, &HELLO), Alert::UnexpectedMessage),
    ];
    let tls12: [(Say, Alert); 2] = [
        (|_| vec![23, 3, 1, 0, 40], Alert::ProtocolVersion),
        // A hello that goes on in another record.
        (
            |pair| pair.say(HANDSHAKE, &HELLO[..5]),
            Alert::UnexpectedMessage,
        ),
    ];
    for (is_tls13, is_gcm) in Pair::all() {
        let own = if is_tls13 { &tls13[..] } else { &tls12[..] };
        for (number, (say, alert)) in always.iter().chain(own).enumerate() {
            let mut pair = Pair::new(is_tls13, is_gcm);
            let bytes = say(&mut pair);
            let (heard, answers) = pair.read(bytes);
            assert!(heard.is_err(), "{number} of {is_tls13} {is_gcm}");
            assert_eq!(
                answers,
                [(ALERT, vec![FATAL, u8::from(*alert)])],
                "{number}, {is_tls13}"
            );
        }
        if is_tls13 {
            let (heard, answers) = Pair::new(is_tls13, is_gcm).read(too_long.clone());
            assert_eq!(heard, Err(Error::PeerSentOversizedRecord));
            assert_eq!(
                answers,
                [(ALERT, vec![FATAL, u8::from(Alert::RecordOverflow)])]
            );
        }
    }
}

#[test]
fn more_plaintext_than_a_record_has_is_refused_padding_included() {
    // By hand, since `seal` makes none of these: content, and zeros after its type.
    for (content, padding, is_good) in [
        (RECORD_BYTES, 0, true),
        (RECORD_BYTES - 9, 9, true),
        (RECORD_BYTES, 1, false),
        (9, RECORD_BYTES - 8, false),
    ] {
        let mut pair = Pair::new(true, true);
        let inner = [
            &vec![b'x'; content][..],
            &[APPLICATION_DATA],
            &vec![0; padding],
        ]
        .concat();
        // The last byte goes for the type.
        let (last, content_bytes) = inner.split_last().unwrap();
        let mut record = Vec::new();
        pair.peer.seal_unbounded(*last, content_bytes, &mut record);
        let (heard, _) = pair.read(record);
        match is_good {
            true => assert_eq!(heard.unwrap().len(), content),
            false => assert_eq!(heard, Err(Error::PeerSentOversizedRecord)),
        }
    }
}

#[test]
fn alerts_of_the_peer_are_heard() {
    for (is_tls13, is_gcm) in Pair::all() {
        let mut pair = Pair::new(is_tls13, is_gcm);
        let record = pair.say(ALERT, &[FATAL, u8::from(AlertDescription::InternalError)]);
        let (heard, answers) = pair.read(record);
        assert_eq!(
            heard,
            Err(Error::AlertReceived(AlertDescription::InternalError))
        );
        assert_eq!(answers, []);
        // What TLS 1.2 knows as warnings, TLS 1.3 does not but for one; a few of them.
        let mut pair = Pair::new(is_tls13, is_gcm);
        let warning = [WARNING, u8::from(AlertDescription::UserCanceled)];
        for _ in 0..WARNINGS_MAX {
            let record = pair.say(ALERT, &warning);
            assert_eq!(pair.read(record), (Ok(vec![]), vec![]));
        }
        let record = pair.say(ALERT, &warning);
        let excess = PeerMisbehaved::TooManyWarningAlertsReceived;
        assert_eq!(pair.read(record).0, Err(excess.into()));
        let mut pair = Pair::new(is_tls13, is_gcm);
        let record = pair.say(
            ALERT,
            &[WARNING, u8::from(AlertDescription::NoRenegotiation)],
        );
        assert_eq!(pair.read(record).0.is_err(), is_tls13);
        // A farewell ends it, and what follows is not looked at.
        let mut pair = Pair::new(is_tls13, is_gcm);
        let mut bytes = [
            pair.say(APPLICATION_DATA, b"last"),
            pair.say(ALERT, &[WARNING, 0]),
        ]
        .concat();
        let length = bytes.len();
        bytes.extend_from_slice(b"whatever");
        let mut plaintext = Vec::new();
        let read = pair
            .records
            .read(&mut bytes, &mut plaintext, &mut Vec::new());
        assert!(read.is_closed.unwrap() && read.used == length && plaintext == b"last");
    }
}

#[test]
fn empty_records_come_now_and_then_and_not_without_end() {
    for (is_tls13, is_gcm) in Pair::all() {
        let mut pair = Pair::new(is_tls13, is_gcm);
        for _ in 0..3 {
            for _ in 0..EMPTY_MAX {
                let record = pair.say(APPLICATION_DATA, b"");
                assert_eq!(pair.read(record), (Ok(vec![]), vec![]));
            }
            let record = pair.say(APPLICATION_DATA, b"x");
            assert_eq!(pair.read(record).0.unwrap(), b"x");
        }
        let records: Vec<u8> = (0..=EMPTY_MAX)
            .flat_map(|_| pair.say(APPLICATION_DATA, b""))
            .collect();
        let excess = PeerMisbehaved::TooManyEmptyFragments;
        assert_eq!(pair.read(records).0, Err(excess.into()));
    }
}

#[test]
fn updates_of_keys_come_whole_or_in_pieces_and_are_answered_once() {
    for is_gcm in [true, false] {
        for cut in 1..=5 {
            let mut pair = Pair::new(true, is_gcm);
            for round in 0..5 {
                // Two requests in silence, and one answer.
                for request in [1, 1, 0] {
                    for piece in [24, 0, 0, 1, request].chunks(cut) {
                        let record = pair.say(HANDSHAKE, piece);
                        assert_eq!(pair.read(record), (Ok(vec![]), vec![]));
                    }
                    pair.peer.update();
                }
                pair.records.rest();
                let mut out = Vec::new();
                assert!(pair.records.write(&[b"data"], &mut out));
                let heard = pair.hear(&out);
                let update = (HANDSHAKE, vec![24, 0, 0, 1, 0]);
                assert_eq!(
                    heard,
                    [update, (APPLICATION_DATA, b"data".to_vec())],
                    "{round}"
                );
                let record = pair.say(APPLICATION_DATA, b"more");
                assert_eq!(pair.read(record).0.unwrap(), b"more");
            }
        }
        // Nothing may come between the pieces.
        let mut pair = Pair::new(true, is_gcm);
        let records = [
            pair.say(HANDSHAKE, &[24, 0]),
            pair.say(APPLICATION_DATA, b"x"),
        ]
        .concat();
        let between = PeerMisbehaved::MessageInterleavedWithHandshakeMessage;
        assert_eq!(pair.read(records).0, Err(between.into()));
        // Nor may they come without end.
        let mut pair = Pair::new(true, is_gcm);
        for number in 0..=UPDATES_MAX {
            let record = pair.say(HANDSHAKE, &[24, 0, 0, 1, 1]);
            pair.peer.update();
            assert_eq!(pair.read(record).0.is_err(), number == UPDATES_MAX);
        }
    }
}

#[test]
fn another_handshake_is_refused_once_and_then_is_a_fault() {
    for is_gcm in [true, false] {
        let mut pair = Pair::new(false, is_gcm);
        let record = pair.say(HANDSHAKE, &HELLO);
        let refusal = vec![WARNING, u8::from(AlertDescription::NoRenegotiation)];
        assert_eq!(pair.read(record), (Ok(vec![]), vec![(ALERT, refusal)]));
        let record = pair.say(APPLICATION_DATA, b"on");
        assert_eq!(pair.read(record).0.unwrap(), b"on");
        let record = pair.say(HANDSHAKE, &HELLO);
        assert!(pair.read(record).0.is_err());
    }
}

#[test]
fn keys_are_renewed_before_they_are_used_up_and_without_new_ones_writing_ends() {
    let data = vec![b'x'; 3 * RECORD_BYTES];
    for left in 1..8 {
        let mut pair = Pair::new(true, true);
        for keys in [&mut pair.records.send, &mut pair.hears] {
            keys.skip(keys.records_left() - left);
        }
        let mut out = Vec::new();
        for _ in 0..3 {
            assert!(pair.records.write(&[&data], &mut out));
        }
        let heard = pair.hear(&out);
        assert_eq!(
            heard.iter().filter(|(kind, _)| *kind == HANDSHAKE).count(),
            1
        );
        let bytes: usize = heard
            .iter()
            .filter(|(kind, _)| *kind != HANDSHAKE)
            .map(|(_, c)| c.len())
            .sum();
        assert_eq!(bytes, 3 * data.len());
        assert!(pair.records.send.records_left() > 1_000_000);

        let mut pair = Pair::new(false, true);
        for keys in [&mut pair.records.send, &mut pair.hears] {
            keys.skip(keys.records_left() - left);
        }
        let mut out = Vec::new();
        let is_written = pair.records.write(&[&data], &mut out);
        assert_eq!((is_written, out.is_empty()), (left > 3, left <= 3));
        // The farewell is always possible.
        pair.records.close_notify(&mut out);
        assert_eq!(pair.hear(&out).last(), Some(&(ALERT, vec![WARNING, 0])));
    }
}

#[test]
fn pieces_fill_records_whatever_their_sizes() {
    for sizes in [
        &[][..],
        &[0],
        &[0, 5, 0, 0, 7],
        &[RECORD_BYTES, 1],
        &[9, 40_000, 3, RECORD_BYTES, 0],
    ] {
        let pieces: Vec<Vec<u8>> = sizes
            .iter()
            .zip(b'a'..)
            .map(|(n, byte)| vec![byte; *n])
            .collect();
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let mut pair = Pair::new(true, false);
        let mut out = Vec::new();
        assert!(pair.records.write(&pieces, &mut out));
        let heard: Vec<Vec<u8>> = pair
            .hear(&out)
            .into_iter()
            .map(|(_, content)| content)
            .collect();
        assert_eq!(heard.len(), pieces.concat().len().div_ceil(RECORD_BYTES));
        assert_eq!(heard.concat(), pieces.concat());
    }
}

proptest! {
    #[test]
    fn a_conversation_is_the_same_however_it_is_cut(
        cut in 1_usize..200, sizes in prop::collection::vec(0_usize..300, 1..20), which in 0_usize..4,
    ) {
        let (is_tls13, is_gcm) = Pair::all()[which];
        let mut pair = Pair::new(is_tls13, is_gcm);
        let (mut bytes, mut said) = (Vec::new(), Vec::new());
        for (number, size) in sizes.iter().enumerate() {
            let data = vec![u8::try_from(number).unwrap(); *size];
            bytes.extend(pair.say(APPLICATION_DATA, &data));
            said.extend(data);
            if is_tls13 && number % 3 == 0 {
                bytes.extend(pair.say(HANDSHAKE, &[24, 0, 0, 1, 0]));
                pair.peer.update();
            }
        }
        let (mut held, mut heard) = (Vec::new(), Vec::new());
        for part in bytes.chunks(cut) {
            held.extend_from_slice(part);
            let read = pair.records.read(&mut held, &mut heard, &mut Vec::new());
            prop_assert!(!read.is_closed.unwrap());
            held.drain(..read.used);
        }
        prop_assert_eq!((held.len(), heard), (0, said));
    }

    #[test]
    fn bent_records_are_a_fault_with_an_alert(
        at in 0_usize..80, bit in 0_u32..8, which in 0_usize..4,
    ) {
        let (is_tls13, is_gcm) = Pair::all()[which];
        let mut pair = Pair::new(is_tls13, is_gcm);
        let mut bytes = [pair.say(APPLICATION_DATA, &[7; 60]), pair.say(APPLICATION_DATA, &[8; 60])].concat();
        bytes[at] ^= 1 << bit;
        let mut plaintext = Vec::new();
        let read = pair.records.read(&mut bytes, &mut plaintext, &mut Vec::new());
        let is_version = is_tls13 && (1..3).contains(&at);
        let is_longer = (3..5).contains(&at) && read.is_closed.is_ok();
        if is_version {
            // It means nothing in TLS 1.3.
            prop_assert!(read.is_closed.is_ok() && plaintext.len() == 120);
        } else {
            // A longer record may be waited for; nothing of it is believed.
            prop_assert!(read.is_closed.is_err() || is_longer);
            prop_assert_eq!(plaintext.len(), 0);
        }
    }

    #[test]
    fn any_bytes_are_waited_for_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..400), content_type in 0_u8..30, which in 0_usize..4,
    ) {
        let (is_tls13, is_gcm) = Pair::all()[which];
        let mut pair = Pair::new(is_tls13, is_gcm);
        // Bare, and well protected.
        let (mut plaintext, mut out) = (Vec::new(), Vec::new());
        let read = pair.records.read(&mut bytes.clone(), &mut plaintext, &mut out);
        prop_assert!(read.used == 0 && plaintext.is_empty());
        prop_assert_eq!(pair.hear(&out).len(), usize::from(read.is_closed.is_err()));
        let mut pair = Pair::new(is_tls13, is_gcm);
        let record = pair.say(content_type, &bytes);
        let (heard, answers) = pair.read(record);
        prop_assert!(answers.len() <= 1);
        prop_assert!(content_type != APPLICATION_DATA || heard.unwrap() == bytes);
    }
}
