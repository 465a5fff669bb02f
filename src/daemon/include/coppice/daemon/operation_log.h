#pragma once

#include "coppice/api/operation.h"
#include "coppice/daemon/journal.h"

#include <memory>
#include <string>
#include <vector>

namespace coppice::daemon {

/// Remembers operations beyond the daemon's life. Called by one thread at a time.
class OperationLog {
public:
    virtual ~OperationLog() = default;
    /// What is remembered, oldest first. Those that were not over have become Interrupted.
    virtual Result<std::vector<api::Operation>> load() = 0;
    /// The newest version of one operation. Durable for new ones and for those that are over; then only when this
    /// succeeds may anybody be told.
    virtual Result<> record(const api::Operation& operation) = 0;
    /// Forgets all others.
    virtual Result<> keep_only(const std::vector<api::Operation>& operations) = 0;
};

/// In a journal: one line per change. Source of the lines: docs/reference/daemon-files.md
class JournalOperationLog final : public OperationLog {
public:
    static Result<std::unique_ptr<JournalOperationLog>> open(const std::string& path);
    Result<std::vector<api::Operation>> load() override;
    Result<> record(const api::Operation& operation) override;
    Result<> keep_only(const std::vector<api::Operation>& operations) override;

private:
    JournalOperationLog(Journal journal, std::vector<api::Operation> loaded)
        : journal_{std::move(journal)}, loaded_{std::move(loaded)}
    {
    }
    Journal journal_;
    std::vector<api::Operation> loaded_;
};

} // namespace coppice::daemon
