#pragma once

#include "coppice/instance/config.h"
#include "coppice/instance/log_record.h"
#include "coppice/os/fd.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace coppice::instance {

/// How much of a log is kept.
struct LogLimits {
    std::uint64_t bytes = kDefaultLogBytes; ///< of each file
    unsigned files = kDefaultLogFiles;      ///< with the one that is written
};
LogLimits log_limits(const InstanceConfig& config);

/// "log" for 0, the one that is written; "log.1" and so on for what came before.
std::string log_name(unsigned number);

/// Writes the log of a detached instance: records, and nothing but whole ones in each file.
class LogFile {
public:
    /// Goes on with what is there.
    /// @param directory borrowed
    static Result<LogFile> open(int directory, const LogLimits& limits);

    /// Keeps what came from a stream, with the time of now; a full file makes room for the next one. Writes once, or
    /// once per file. Memory: below 200 KiB whatever comes.
    /// Errors: Unavailable (disk full); what was not written is lost, the next call begins anew.
    Result<> append(LogStream stream, std::string_view output);

private:
    LogFile(int directory, const LogLimits& limits) : directory_{directory}, limits_{limits} {}
    Result<> begin();
    Result<> make_room(std::size_t bytes);
    Result<> flush();
    Result<> rotate();

    int directory_;
    LogLimits limits_;
    os::Fd file_;
    std::uint64_t size_ = 0;
    std::string buffer_; ///< not written yet
};

} // namespace coppice::instance
