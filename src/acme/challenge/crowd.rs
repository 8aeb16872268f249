//! Who is at the door of a challenge, and who has to go when it is full. Pure: instants come in as arguments.
//!
//! A validation takes milliseconds. Whoever wants to keep the CA out holds connections open, or makes them faster than they
//! end; so when every place is taken, the address that has the most gives up its oldest. One that has been there for a
//! moment only is left alone: it may be the CA's.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

/// How long everybody may stay, however full it is.
pub(super) const MERCY: Duration = Duration::from_millis(250);

/// The connections of the moment.
#[derive(Debug)]
pub(super) struct Crowd<T> {
    /// How many there may be.
    room: usize,
    /// In the order in which they came.
    guests: Vec<Guest<T>>,
    /// The number of the next one.
    next: u64,
    /// How many had to go.
    n_shed: u64,
}

/// One connection.
#[derive(Debug)]
struct Guest<T> {
    number: u64,
    from: IpAddr,
    since: Instant,
    handle: T,
}

/// What is to be done before another one may come in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room<T> {
    /// Nothing.
    Free,
    /// This one goes.
    Shed(T),
    /// All of them are too new; in a moment one is not, or has gone by itself.
    Wait(Duration),
}

impl<T> Crowd<T> {
    /// Returns one with nobody in it.
    pub fn new(room: usize) -> Self {
        Self {
            room,
            guests: Vec::new(),
            next: 0,
            n_shed: 0,
        }
    }

    /// Makes room for one more.
    pub fn make_room(&mut self, now: Instant) -> Room<T> {
        if self.guests.len() < self.room {
            return Room::Free;
        }
        let mut by_origin: HashMap<IpAddr, usize> = HashMap::new();
        for guest in &self.guests {
            *by_origin.entry(guest.from).or_default() += 1;
        }
        let age = |guest: &Guest<T>| now.saturating_duration_since(guest.since);
        // The first of several is the oldest: they stand in the order in which they came.
        let surplus = self
            .guests
            .iter()
            .enumerate()
            .filter(|(_, guest)| age(guest) >= MERCY)
            .min_by_key(|(index, guest)| (std::cmp::Reverse(by_origin.get(&guest.from)), *index));
        match surplus.map(|(index, _)| index) {
            Some(index) => {
                self.n_shed += 1;
                Room::Shed(self.guests.remove(index).handle)
            }
            None => {
                let oldest = self.guests.first().map_or(MERCY, age);
                Room::Wait(MERCY.saturating_sub(oldest).max(Duration::from_millis(1)))
            }
        }
    }

    /// Lets one in; returns the number that it leaves by.
    pub fn enter(&mut self, from: IpAddr, now: Instant, handle: impl FnOnce(u64) -> T) -> u64 {
        let number = self.next;
        self.next += 1;
        let handle = handle(number);
        self.guests.push(Guest {
            number,
            from: origin(from),
            since: now,
            handle,
        });
        number
    }

    /// Notes that one has gone; one that had to go has gone before.
    pub fn leave(&mut self, number: u64) {
        self.guests.retain(|guest| guest.number != number);
    }

    /// Returns how many had to go.
    pub fn n_shed(&self) -> u64 {
        self.n_shed
    }
}

/// Returns what counts as one address: of IPv6 a /64, which is what anybody has.
fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let network = v6.to_bits() & !u128::from(u64::MAX);
            Ipv6Addr::from_bits(network).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guests by the last part of their address, each a millisecond after the one before.
    fn crowd(room: usize, guests: &[u8], begun: Instant) -> Crowd<u64> {
        let mut crowd = Crowd::new(room);
        for (index, last) in guests.iter().enumerate() {
            let at = begun + Duration::from_millis(index as u64);
            crowd.enter([192, 0, 2, *last].into(), at, |number| number);
        }
        crowd
    }

    #[test]
    fn the_oldest_of_the_address_that_has_the_most_goes() {
        let begun = Instant::now();
        let late = begun + Duration::from_secs(1);
        let check = |room, guests: &[u8], now, expected: Room<u64>| {
            assert_eq!(crowd(room, guests, begun).make_room(now), expected, "{guests:?}");
        };
        check(3, &[1, 1], late, Room::Free);
        check(3, &[1, 2, 2], late, Room::Shed(1));
        check(3, &[2, 1, 2], late, Room::Shed(0));
        check(4, &[1, 2, 2, 1], late, Room::Shed(0));
        check(3, &[1, 2, 3], late, Room::Shed(0));
        let soon = |milliseconds| begun + Duration::from_millis(milliseconds);
        check(3, &[1, 2, 2], soon(251), Room::Shed(1));
        // Of the address that has the most all are new: another old one goes.
        check(3, &[1, 2, 2], soon(250), Room::Shed(0));
        check(3, &[1, 2, 2], soon(100), Room::Wait(Duration::from_millis(150)));
    }

    #[test]
    fn who_has_gone_makes_room_and_is_not_counted() {
        let begun = Instant::now();
        let mut crowd = crowd(2, &[1, 1], begun);
        crowd.leave(0);
        crowd.leave(7);
        assert_eq!((crowd.make_room(begun), crowd.n_shed()), (Room::Free, 0));
        let (next, late) = (
            begun + Duration::from_millis(2),
            begun + MERCY + Duration::from_millis(1),
        );
        crowd.enter([192, 0, 2, 1].into(), next, |number| number);
        assert_eq!(crowd.make_room(late), Room::Shed(1));
        assert_eq!(crowd.n_shed(), 1);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let check = |one: &str, other: &str, same| {
            let of = |text: &str| origin(text.parse().unwrap());
            assert_eq!(of(one) == of(other), same, "{one} {other}");
        };
        check("2001:db8::1", "2001:db8::ffff:0:0:2", true);
        check("2001:db8::1", "2001:db8:0:1::1", false);
        check("::ffff:192.0.2.1", "192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
    }
}
