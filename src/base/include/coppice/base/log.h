#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

/// Logging for programs. Libraries return errors and write debug lines only; a program logs an error once.
///
/// A line is level, module, event and fields. Text form: `coppice-runtime: create: no such bundle`; JSON form, one
/// object a line with the keys level, msg, time (RFC 3339, UTC), as runc's `--log-format json`, because podman and
/// containerd show the msg of the last error line to their user.
namespace coppice::log {

enum class Level : unsigned char { Debug, Info, Warn, Error };
enum class Format : unsigned char { Text, Json };

struct Field {
    std::string_view name;
    std::string value;
};

/// Where lines go. The process starts with text on descriptor 2 at level Info.
/// @param fd borrowed; must stay open as long as lines are written
void configure(std::string program, int fd, Format format, Level least);

/// Writes one line with a single write(2), so lines of several processes do not mix. Failures are ignored: there is
/// nowhere left to report them. Any thread after `configure`.
void write(Level level, std::string_view module, std::string_view event, std::initializer_list<Field> fields = {});

inline void debug(std::string_view module, std::string_view event, std::initializer_list<Field> fields = {})
{
    write(Level::Debug, module, event, fields);
}
inline void info(std::string_view module, std::string_view event, std::initializer_list<Field> fields = {})
{
    write(Level::Info, module, event, fields);
}
inline void warn(std::string_view module, std::string_view event, std::initializer_list<Field> fields = {})
{
    write(Level::Warn, module, event, fields);
}
inline void error(std::string_view module, std::string_view event, std::initializer_list<Field> fields = {})
{
    write(Level::Error, module, event, fields);
}

} // namespace coppice::log
