#pragma once

#include "coppice/base/text.h"
#include "coppice/test/child.h"
#include "coppice/test/temp_dir.h"

#include <gtest/gtest.h>

#include <string>

namespace coppice::test {

/// Unpacks a minimal Debian root (COPPICE_DEBIAN_ROOT, a script) into `root` below `directory`.
/// @param archive gets the path of the archive; stays empty where none can be made, for a reason that the script has
/// printed: the caller skips
inline void unpack_debian_root(const TempDir& directory, std::string& archive)
{
    const std::string list = directory / "archive";
    const int made = run_program({"sh", "-c", cat(COPPICE_DEBIAN_ROOT, " > ", list)});
    if (made == 77) return;
    ASSERT_EQ(made, 0);
    archive = read_text(list);
    archive.pop_back();
    directory.make_directory("root");
    ASSERT_EQ(run_program({"tar", "-C", directory / "root", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf",
                           archive}),
              0);
}

} // namespace coppice::test
