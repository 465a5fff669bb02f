#pragma once

#include <cstdint>
#include <string>
#include <string_view>

/// System calls that fail on purpose. The functions of the C library that write, sync and rename are defined in this
/// program (faults.cpp), so that they are found before the library's own, by SQLite, too. While armed nothing is really
/// synced.
namespace coppice::test::faults {

enum class Kind : unsigned char {
    Count,      ///< nothing fails
    Io,         ///< EIO
    Full,       ///< ENOSPC
    ShortWrite, ///< half of the data is written; the next write says ENOSPC. Calls that write nothing say ENOSPC at
                ///< once
    Kill,       ///< the process ends there
    Read,       ///< EIO, where something is opened, looked at or read; all others: where something is changed
};

/// From now on the `nth` call (from 1) of those that the kind is about fails in this way; all others succeed.
/// @param only the name of a function: others do not count
void arm(Kind kind, std::uint64_t nth, const char* only = nullptr);
/// @returns how many such calls there were
std::uint64_t disarm();
/// How many calls read since arm().
std::uint64_t reading_calls();
/// The one that failed since arm(), with the path of its file: "fsync /path". Empty: none
std::string failed_call();
/// Whether a call is one of those whose error nobody may ignore.
bool is_sync(std::string_view call);
/// How many calls failed since arm().
std::uint64_t injected();
inline constexpr int kKilledStatus = 99;

/// What the test itself does meanwhile neither fails nor counts.
class Pause {
public:
    Pause();
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;
    ~Pause();

private:
    bool was_;
};

/// Until disarm() remembers what each file held when it was last synced.
void remember_syncs();
/// Makes `to` what a power cut would leave of the directory `from`: every name, with the content that was synced;
/// nothing where nothing was. (That names last is not looked at: the order of renames and directory syncs is.)
void power_cut(const std::string& from, const std::string& to);

} // namespace coppice::test::faults
