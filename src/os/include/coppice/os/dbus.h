#pragma once

#include "coppice/os/fd.h"

#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

/// As much of D-Bus as talking to systemd takes: method calls with their replies, and signals that are waited for.
///
/// Not libdbus: Debian's libdbus-1.a calls libsystemd and the name service of glibc, neither of which can be linked
/// statically. Source: D-Bus Specification 0.41, sections "Type system", "Message Protocol", "Authentication Protocol".
/// Little-endian only, as both ends are on one machine.
namespace coppice::os::dbus {

/// Largest message that is taken, in bytes; the bus itself would allow 128 MiB.
inline constexpr std::size_t kMessageMaxBytes = 1U << 20;

/// The value of a variant. The D-Bus types in order: b, i, u, x, t, d, s, as, ay, au.
using Value = std::variant<bool, std::int32_t, std::uint32_t, std::int64_t, std::uint64_t, double, std::string,
                           std::vector<std::string>, std::vector<std::uint8_t>, std::vector<std::uint32_t>>;

/// A named value; a(sv) is a list of them.
struct Property {
    std::string name;
    Value value;
    bool operator==(const Property&) const = default;
};

/// Marshals values one behind the other, each at its alignment from the first byte on.
class Writer {
public:
    void byte(std::uint8_t value) { bytes_ += static_cast<char>(value); }
    void number(std::uint32_t value);
    void number(std::uint64_t value);
    /// Types s and o.
    void text(std::string_view value);
    /// Type g.
    void signature(std::string_view value);
    /// Type v.
    void variant(const Value& value);
    /// Type a(sv).
    void properties(const std::vector<Property>& properties);
    void align(std::size_t boundary);

    /// An array: `begin_array(alignment of an element)`, elements, `end_array(what begin_array gave)`.
    struct Array {
        std::size_t length_at, first_at;
    };
    [[nodiscard]] Array begin_array(std::size_t alignment);
    void end_array(Array array);

    [[nodiscard]] const std::string& bytes() const { return bytes_; }

private:
    std::string bytes_;
};

/// The other way round. Errors: Corrupt (cut short, a text without its end, a type that is not read here)
class Reader {
public:
    explicit Reader(std::string_view bytes) : bytes_{bytes} {}
    Result<std::uint8_t> byte();
    Result<std::uint32_t> number();
    Result<std::string> text();
    Result<std::string> signature();
    /// A variant that must hold a text.
    Result<std::string> variant_text();
    Result<> align(std::size_t boundary);
    /// Passes over one value of a basic type.
    Result<> skip(char type);
    [[nodiscard]] std::size_t position() const { return position_; }

private:
    Result<std::string_view> take(std::size_t count);
    std::string_view bytes_;
    std::size_t position_ = 0;
};

enum class MessageType : std::uint8_t { Call = 1, Return = 2, Error = 3, Signal = 4 };

struct Message {
    MessageType type = MessageType::Call;
    std::uint32_t serial = 0, reply_serial = 0;
    std::string destination = {}, path = {}, interface = {}, member = {}, error_name = {}, sender = {};
    std::string signature = {}; ///< of the body
    std::string body = {};      ///< marshalled
};

std::string encode(const Message& message);

/// Length in bytes of the message that `bytes` begin with; empty while too little of it is there to know.
/// Errors: Corrupt (not a message, or one above kMessageMaxBytes)
Result<std::optional<std::size_t>> message_length(std::string_view bytes);
/// Parses one whole message. Errors: Corrupt
Result<Message> decode(std::string_view bytes);

/// How long an answer is waited for, as a point in CLOCK_MONOTONIC.
timespec deadline_from_now();

/// A connection to a bus, or to a peer that answers without one. Every wait ends after kPatienceSeconds.
class Connection {
public:
    /// @param address list of addresses as in DBUS_SESSION_BUS_ADDRESS; the first that answers is taken
    /// Errors: Invalid (no unix:path= in it), Unavailable (nobody answers), Denied
    static Result<Connection> open(std::string_view address);
    /// A socket at whose other end is no bus but one program: /run/systemd/private.
    static Result<Connection> open_peer(const std::string& path);

    /// Calls a method and waits for its reply. Signals that come meanwhile are dropped.
    /// Errors: what the callee replied, as `error_name: text`, kind NotFound or Conflict where the name tells so
    Result<Message> call(Message message);
    /// Has the bus hand on signals that match. Nothing to do without a bus.
    Result<> add_match(const std::string& rule);
    /// The next signal `member`. Errors: Unavailable (none by then)
    Result<Message> wait_for_signal(std::string_view member, const timespec& deadline);

private:
    Connection(Fd socket, bool has_bus) : socket_{std::move(socket)}, has_bus_{has_bus} {}
    static Result<Connection> authenticate(Fd socket, bool has_bus);
    Result<Message> receive(const struct timespec& deadline);

    Fd socket_;
    bool has_bus_;
    std::uint32_t last_serial_ = 0;
    std::string received_; ///< not yet parsed
};

inline constexpr int kPatienceSeconds = 30;

} // namespace coppice::os::dbus
