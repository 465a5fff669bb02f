// make_layer DIRECTORY OUTPUT: writes DIRECTORY, an upper directory or a whole tree, as OUTPUT.meta and OUTPUT.blob,
// and both as one device, OUTPUT.flat. For tests.

#include "coppice/os/file.h"
#include "coppice/vdisk/layer_reader.h"
#include "coppice/vdisk/read_tree.h"

#include <cstdio>

namespace {

using namespace coppice;
using namespace coppice::vdisk;

class FileSink final : public store::ChunkSink, public ByteSink {
public:
    explicit FileSink(os::Fd fd) : fd_{std::move(fd)} {}
    Result<> put(std::string_view chunk) override { return write(chunk); }
    Result<> write(std::string_view bytes) override { return os::write_all(fd_.get(), bytes, "the layer"); }

private:
    os::Fd fd_;
};

Result<os::Fd> create(const std::string& path)
{
    return os::open_at(os::kCwd, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
}

Result<> run(const std::string& directory, const std::string& output)
{
    const auto root = TRY(os::open_at(os::kCwd, directory, O_RDONLY | O_DIRECTORY));
    auto tree = TRY(read_tree(root, {.form = ScanOptions::Form::OverlayUpper}));
    FileSink metadata{TRY(create(output + ".meta"))};
    FileSink blob{TRY(create(output + ".blob"))};
    const auto size = TRY(write_layer(tree, blob, metadata));
    auto reader = TRY(LayerReader::open(TRY(os::open_at(os::kCwd, output + ".meta", O_RDONLY))));
    TRY(reader.check());
    FileSink flat{TRY(create(output + ".flat"))};
    TRY(reader.write_flat(flat));
    TRY(flat.write(TRY(os::read_file(os::kCwd, output + ".blob", 1U << 30U))));
    std::printf("%llu inodes, metadata %llu bytes, blob %llu bytes in %llu chunks\n",
                static_cast<unsigned long long>(size.inodes), static_cast<unsigned long long>(size.metadata_bytes),
                static_cast<unsigned long long>(size.blob_bytes), static_cast<unsigned long long>(size.chunks));
    return {};
}

} // namespace

int main(int argc, char** argv)
{
    if (argc != 3) {
        std::fputs("usage: make_layer DIRECTORY OUTPUT\n", stderr);
        return 2;
    }
    const auto made = run(argv[1], argv[2]);
    if (made) return 0;
    std::fprintf(stderr, "make_layer: %s\n", made.error().line().c_str());
    return 1;
}
