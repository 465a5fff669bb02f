#include "coppice/os/dbus.h"

#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/os/unix_socket.h"

#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <poll.h>
#include <sys/socket.h>

static_assert(std::endian::native == std::endian::little, "messages are written as little-endian");

namespace coppice::os::dbus {

namespace {

constexpr std::size_t kFixedHeaderBytes = 16;

enum Field : std::uint8_t {
    FieldPath = 1,
    FieldInterface,
    FieldMember,
    FieldErrorName,
    FieldReplySerial,
    FieldDestination,
    FieldSender,
    FieldSignature,
};

std::unexpected<Error> corrupt(std::string_view what) { return fail(ErrorKind::Corrupt, cat("D-Bus message: ", what)); }

std::size_t rounded_up(std::size_t position, std::size_t boundary)
{
    return (position + boundary - 1) / boundary * boundary;
}

template <typename T> void put(std::string& bytes, T value)
{
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

/// What a variant begins with, and its value.
struct VariantWriter {
    Writer& out;
    void operator()(bool value) const
    {
        out.signature("b");
        out.number(std::uint32_t{value});
    }
    void operator()(std::int32_t value) const
    {
        out.signature("i");
        out.number(static_cast<std::uint32_t>(value));
    }
    void operator()(std::uint32_t value) const
    {
        out.signature("u");
        out.number(value);
    }
    void operator()(std::int64_t value) const
    {
        out.signature("x");
        out.number(static_cast<std::uint64_t>(value));
    }
    void operator()(std::uint64_t value) const
    {
        out.signature("t");
        out.number(value);
    }
    void operator()(double value) const
    {
        out.signature("d");
        out.number(std::bit_cast<std::uint64_t>(value));
    }
    void operator()(const std::string& value) const
    {
        out.signature("s");
        out.text(value);
    }
    void operator()(const std::vector<std::string>& values) const
    {
        out.signature("as");
        const auto array = out.begin_array(4);
        for (const std::string& value : values)
            out.text(value);
        out.end_array(array);
    }
    void operator()(const std::vector<std::uint8_t>& values) const
    {
        out.signature("ay");
        const auto array = out.begin_array(1);
        for (const std::uint8_t value : values)
            out.byte(value);
        out.end_array(array);
    }
    void operator()(const std::vector<std::uint32_t>& values) const
    {
        out.signature("au");
        const auto array = out.begin_array(4);
        for (const std::uint32_t value : values)
            out.number(value);
        out.end_array(array);
    }
};

Result<> wait_for(const Fd& socket, short events, const timespec& deadline)
{
    for (;;) {
        timespec now{};
        ::clock_gettime(CLOCK_MONOTONIC, &now);
        const long left = (deadline.tv_sec - now.tv_sec) * 1000 + (deadline.tv_nsec - now.tv_nsec) / 1'000'000;
        pollfd waiting{.fd = socket.get(), .events = events, .revents = 0};
        const int ready = left <= 0 ? 0 : ::poll(&waiting, 1, static_cast<int>(left));
        if (ready > 0) return {};
        if (ready == 0) return fail(ErrorKind::Unavailable, cat("no answer within ", kPatienceSeconds, " s"));
        if (errno != EINTR) return fail_os(errno, "wait for an answer");
    }
}

Result<> send_all(const Fd& socket, std::string_view bytes, const timespec& deadline)
{
    while (!bytes.empty()) {
        TRY(wait_for(socket, POLLOUT, deadline));
        const auto sent =
            retry_eintr([&] { return ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT); });
        if (sent < 0 && errno != EAGAIN) return fail_os(errno, "send");
        if (sent > 0) bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return {};
}

/// Adds what has come to `received`, waiting for at least one byte.
Result<> receive_some(const Fd& socket, std::string& received, const timespec& deadline)
{
    std::array<char, 4096> buffer{};
    for (;;) {
        TRY(wait_for(socket, POLLIN, deadline));
        const auto got = retry_eintr([&] { return ::recv(socket.get(), buffer.data(), buffer.size(), MSG_DONTWAIT); });
        if (got == 0) return fail(ErrorKind::Gone, "the other end has hung up");
        if (got < 0 && errno == EAGAIN) continue;
        if (got < 0) return fail_os(errno, "receive");
        received.append(buffer.data(), static_cast<std::size_t>(got));
        return {};
    }
}

/// One answer of the authentication, which is in lines.
Result<std::string> receive_line(const Fd& socket, std::string& received, const timespec& deadline)
{
    for (;;) {
        if (const auto end = received.find("\r\n"); end != std::string::npos) {
            auto line = received.substr(0, end);
            received.erase(0, end + 2);
            return line;
        }
        if (received.size() > 4096) return corrupt("an answer to the authentication has no end");
        TRY(receive_some(socket, received, deadline));
    }
}

std::optional<unsigned> hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9') return static_cast<unsigned>(digit - '0');
    if (digit >= 'a' && digit <= 'f') return static_cast<unsigned>(digit - 'a' + 10);
    if (digit >= 'A' && digit <= 'F') return static_cast<unsigned>(digit - 'A' + 10);
    return std::nullopt;
}

/// Addresses write other than plain characters as %XX.
std::string unescape(std::string_view text)
{
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto high = text[i] == '%' && i + 2 < text.size() ? hex_digit(text[i + 1]) : std::nullopt;
        const auto low = high ? hex_digit(text[i + 2]) : std::nullopt;
        if (low) {
            plain += static_cast<char>(*high * 16 + *low);
            i += 2;
        } else {
            plain += text[i];
        }
    }
    return plain;
}

/// The socket's path in "unix:path=/x,guid=..."; empty for any other kind of address.
std::string socket_of(std::string_view address)
{
    constexpr std::string_view kUnix = "unix:";
    if (!address.starts_with(kUnix)) return {};
    address.remove_prefix(kUnix.size());
    while (!address.empty()) {
        const auto pair = next_part(address, ',');
        if (pair.starts_with("path=")) return unescape(pair.substr(5));
    }
    return {};
}

/// What a peer answered to a call, as our error.
Error error_of(const Message& reply)
{
    std::string text = reply.error_name;
    if (reply.signature.starts_with('s'))
        if (const auto said = Reader{reply.body}.text(); said && !said->empty()) text = cat(text, ": ", *said);
    ErrorKind kind = ErrorKind::Unavailable;
    const auto ends_with = [&](std::string_view end) { return reply.error_name.ends_with(end); };
    if (ends_with(".NoSuchUnit") || ends_with(".UnknownObject")) kind = ErrorKind::NotFound;
    if (ends_with(".UnitExists")) kind = ErrorKind::Conflict;
    if (ends_with(".AccessDenied") || ends_with(".InteractiveAuthorizationRequired")) kind = ErrorKind::Denied;
    if (ends_with(".InvalidArgs") || ends_with(".PropertyReadOnly")) kind = ErrorKind::Invalid;
    return Error{kind, printable(text)};
}

} // namespace

void Writer::align(std::size_t boundary) { bytes_.resize(rounded_up(bytes_.size(), boundary), '\0'); }

void Writer::number(std::uint32_t value)
{
    align(4);
    put(bytes_, value);
}

void Writer::number(std::uint64_t value)
{
    align(8);
    put(bytes_, value);
}

void Writer::text(std::string_view value)
{
    number(static_cast<std::uint32_t>(value.size()));
    bytes_ += value;
    bytes_ += '\0';
}

void Writer::signature(std::string_view value)
{
    byte(static_cast<std::uint8_t>(value.size()));
    bytes_ += value;
    bytes_ += '\0';
}

void Writer::variant(const Value& value) { std::visit(VariantWriter{*this}, value); }

void Writer::properties(const std::vector<Property>& properties)
{
    const auto array = begin_array(8);
    for (const Property& property : properties) {
        align(8);
        text(property.name);
        variant(property.value);
    }
    end_array(array);
}

Writer::Array Writer::begin_array(std::size_t alignment)
{
    number(std::uint32_t{0});
    const std::size_t length_at = bytes_.size() - 4;
    align(alignment); // also before an array without elements; does not count as part of it
    return {.length_at = length_at, .first_at = bytes_.size()};
}

void Writer::end_array(Array array)
{
    const auto length = static_cast<std::uint32_t>(bytes_.size() - array.first_at);
    std::memcpy(bytes_.data() + array.length_at, &length, sizeof length);
}

Result<std::string_view> Reader::take(std::size_t count)
{
    if (count > bytes_.size() - position_) return corrupt("it is cut short");
    const auto taken = bytes_.substr(position_, count);
    position_ += count;
    return taken;
}

Result<> Reader::align(std::size_t boundary)
{
    TRY(take(rounded_up(position_, boundary) - position_));
    return {};
}

Result<std::uint8_t> Reader::byte()
{
    const auto one = TRY(take(1));
    return static_cast<std::uint8_t>(one.front());
}

Result<std::uint32_t> Reader::number()
{
    TRY(align(4));
    const auto bytes = TRY(take(4));
    std::uint32_t value = 0;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
}

Result<std::string> Reader::text()
{
    const auto length = TRY(number());
    const auto value = TRY(take(length));
    const auto end = TRY(byte());
    if (end != 0 || value.find('\0') != std::string_view::npos) return corrupt("a text does not end where it should");
    return std::string{value};
}

Result<std::string> Reader::signature()
{
    const auto length = TRY(byte());
    const auto value = TRY(take(length));
    const auto end = TRY(byte());
    if (end != 0) return corrupt("a signature does not end where it should");
    return std::string{value};
}

Result<std::string> Reader::variant_text()
{
    const auto type = TRY(signature());
    if (type != "s" && type != "o") return corrupt(cat("a text was expected, not the type '", printable(type), "'"));
    return text();
}

Result<> Reader::skip(char type)
{
    switch (type) {
    case 'y': TRY(byte()); return {};
    case 'n':
    case 'q':
        TRY(align(2));
        TRY(take(2));
        return {};
    case 'b':
    case 'i':
    case 'u':
    case 'h': TRY(number()); return {};
    case 'x':
    case 't':
    case 'd':
        TRY(align(8));
        TRY(take(8));
        return {};
    case 's':
    case 'o': TRY(text()); return {};
    case 'g': TRY(signature()); return {};
    default: return corrupt("a header field has a type that none has");
    }
}

std::string encode(const Message& message)
{
    Writer out;
    out.byte('l');
    out.byte(static_cast<std::uint8_t>(message.type));
    out.byte(0); // flags
    out.byte(1); // version of the protocol
    out.number(static_cast<std::uint32_t>(message.body.size()));
    out.number(message.serial);
    const auto fields = out.begin_array(8);
    const auto field = [&out](Field code, char type, const std::string& value) {
        if (value.empty()) return;
        out.align(8);
        out.byte(code);
        out.signature({&type, 1});
        type == 'g' ? out.signature(value) : out.text(value);
    };
    field(FieldPath, 'o', message.path);
    field(FieldInterface, 's', message.interface);
    field(FieldMember, 's', message.member);
    field(FieldErrorName, 's', message.error_name);
    field(FieldDestination, 's', message.destination);
    field(FieldSender, 's', message.sender);
    field(FieldSignature, 'g', message.signature);
    if (message.reply_serial != 0) {
        out.align(8);
        out.byte(FieldReplySerial);
        out.signature("u");
        out.number(message.reply_serial);
    }
    out.end_array(fields);
    out.align(8);
    return out.bytes() + message.body;
}

Result<std::optional<std::size_t>> message_length(std::string_view bytes)
{
    if (bytes.empty()) return std::nullopt;
    if (bytes.front() != 'l') return corrupt("it is not one of this machine");
    if (bytes.size() < kFixedHeaderBytes) return std::nullopt;
    if (bytes[3] != 1) return corrupt("it has another version");
    std::uint32_t body = 0;
    std::uint32_t fields = 0;
    std::memcpy(&body, bytes.data() + 4, sizeof body);
    std::memcpy(&fields, bytes.data() + 12, sizeof fields);
    if (body > kMessageMaxBytes || fields > kMessageMaxBytes) return corrupt("it is too long");
    return rounded_up(kFixedHeaderBytes + fields, 8) + body;
}

Result<Message> decode(std::string_view bytes)
{
    const auto length = TRY(message_length(bytes));
    if (!length || *length != bytes.size()) return corrupt("it has another length than it says");
    Reader in{bytes};
    TRY(in.byte());
    const auto type = TRY(in.byte());
    if (type < 1 || type > 4) return corrupt("it is of no known type");
    Message message{.type = static_cast<MessageType>(type)};
    TRY(in.byte());
    TRY(in.byte());
    const auto body_bytes = TRY(in.number());
    message.serial = TRY(in.number());
    const auto fields_end = TRY(in.number()) + kFixedHeaderBytes;
    while (in.position() < fields_end) {
        TRY(in.align(8));
        const auto code = TRY(in.byte());
        const auto kind = TRY(in.signature());
        const auto into = [&](std::string_view wanted, std::string& text) -> Result<> {
            if (kind != wanted) return corrupt("a header field has the wrong type");
            text = kind == "g" ? TRY(in.signature()) : TRY(in.text());
            return {};
        };
        switch (code) {
        case FieldPath: TRY(into("o", message.path)); break;
        case FieldInterface: TRY(into("s", message.interface)); break;
        case FieldMember: TRY(into("s", message.member)); break;
        case FieldErrorName: TRY(into("s", message.error_name)); break;
        case FieldDestination: TRY(into("s", message.destination)); break;
        case FieldSender: TRY(into("s", message.sender)); break;
        case FieldSignature: TRY(into("g", message.signature)); break;
        case FieldReplySerial:
            if (kind != "u") return corrupt("a header field has the wrong type");
            message.reply_serial = TRY(in.number());
            break;
        default: // fields to come are to be passed over
            if (kind.size() != 1) return corrupt("a header field has a type that none has");
            TRY(in.skip(kind.front()));
        }
    }
    if (in.position() != fields_end) return corrupt("its header fields end where they should not");
    message.body = std::string{bytes.substr(bytes.size() - body_bytes)};
    return message;
}

Result<Connection> Connection::authenticate(Fd socket, bool has_bus)
{
    const auto deadline = deadline_from_now();
    Connection connection{std::move(socket), has_bus};
    // Without a name: the other end then takes the user from the socket. In a user namespace we would not know it.
    static constexpr char kNameless[] = "\0AUTH EXTERNAL\r\nDATA\r\n";
    TRY_DOING("authenticate", send_all(connection.socket_, {kNameless, sizeof kNameless - 1}, deadline));
    for (const std::string_view wanted : {"DATA", "OK"}) {
        const auto line = TRY_DOING("authenticate", receive_line(connection.socket_, connection.received_, deadline));
        if (!line.starts_with(wanted))
            return fail(ErrorKind::Denied, cat("the bus does not accept us: ", printable(line)));
    }
    TRY_DOING("authenticate", send_all(connection.socket_, "BEGIN\r\n", deadline));
    constexpr const char* kBus = "org.freedesktop.DBus";
    if (has_bus)
        TRY(connection.call(
            {.destination = kBus, .path = "/org/freedesktop/DBus", .interface = kBus, .member = "Hello"}));
    return connection;
}

Result<Connection> Connection::open(std::string_view address)
{
    Result<Connection> last =
        fail(Error{ErrorKind::Invalid, cat("'", printable(address), "' is no address of a bus")}.hint(
            "it has to be like unix:path=/run/user/1000/bus"));
    while (!address.empty()) {
        const std::string path = socket_of(next_part(address, ';'));
        if (path.empty()) continue;
        auto socket = connect_stream(path);
        if (socket) return authenticate(*std::move(socket), true);
        last = fail(std::move(socket).error());
    }
    return last;
}

Result<Connection> Connection::open_peer(const std::string& path)
{
    auto socket = TRY(connect_stream(path));
    return authenticate(std::move(socket), false);
}

Result<Message> Connection::receive(const timespec& deadline)
{
    for (;;) {
        const auto length = TRY(message_length(received_));
        if (length && *length <= received_.size()) {
            auto message = TRY(decode(std::string_view{received_}.substr(0, *length)));
            received_.erase(0, *length);
            return message;
        }
        TRY(receive_some(socket_, received_, deadline));
    }
}

Result<Message> Connection::call(Message message)
{
    const auto deadline = deadline_from_now();
    message.type = MessageType::Call;
    message.serial = ++last_serial_;
    TRY_DOING(message.member, send_all(socket_, encode(message), deadline));
    for (;;) {
        auto reply = TRY_DOING(message.member, receive(deadline));
        if (reply.reply_serial != message.serial) continue;
        if (reply.type == MessageType::Return) return reply;
        if (reply.type == MessageType::Error) return fail(error_of(reply));
    }
}

Result<> Connection::add_match(const std::string& rule)
{
    if (!has_bus_) return {};
    constexpr const char* kBus = "org.freedesktop.DBus";
    Writer body;
    body.text(rule);
    TRY(call({.destination = kBus,
              .path = "/org/freedesktop/DBus",
              .interface = kBus,
              .member = "AddMatch",
              .signature = "s",
              .body = body.bytes()}));
    return {};
}

timespec deadline_from_now()
{
    timespec deadline{};
    ::clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += kPatienceSeconds;
    return deadline;
}

Result<Message> Connection::wait_for_signal(std::string_view member, const timespec& deadline)
{
    for (;;) {
        auto message = TRY_DOING(member, receive(deadline));
        if (message.type == MessageType::Signal && message.member == member) return message;
    }
}

} // namespace coppice::os::dbus
