#pragma once

#include "coppice/os/process.h"
#include "copy_plan.h"

#include <string>
#include <string_view>

namespace coppice::cli {

/// Unpacks a tar archive that arrives in pieces, by the program `tar`. What gets a new name is unpacked beside it and
/// moved there when it is whole; what is left unfinished is removed when the object goes.
class Unpacker {
public:
    struct Target {
        std::string path;     ///< as the user wrote it
        bool archive = false; ///< with owners, all modes, extended attributes and device nodes
    };
    /// Looks at the destination. Errors: those of the disk
    static Result<Unpacker> open(CopySource source, Target target);
    ~Unpacker();
    Unpacker(Unpacker&& other) noexcept;
    Unpacker& operator=(Unpacker&&) = delete;

    /// Blocks while `tar` writes. Errors: of landing_of; NotFound (no program `tar`, no parent directory); Os (`tar`
    /// failed, and said why on standard error)
    Result<> take(std::string_view piece);
    /// Errors: Corrupt (there was no archive), Os (`tar` failed)
    Result<> finish();

private:
    Unpacker(CopySource source, Target target, Present present)
        : source_{std::move(source)}, target_{std::move(target)}, present_{present}
    {
    }
    Result<> start(CopiedKind kind);
    Result<> stage();
    Result<> start_tar(const std::string& directory, bool strip);
    Result<> wait_for_tar();
    Result<> move_into_place();

    CopySource source_;
    Target target_;
    Present present_;
    std::string beginning_; ///< until tar runs
    os::Process tar_;
    os::Fd pipe_;
    bool has_ended_ = false; ///< tar, which needs nothing behind the end mark of the archive
    std::string staging_;    ///< directory beside the destination, empty when there is none
};

} // namespace coppice::cli
