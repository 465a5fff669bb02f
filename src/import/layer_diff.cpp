#include "layer_diff.h"

#include "coppice/base/text.h"

namespace coppice::imports {

Result<> add_archive(ByteStream& archive, TarReader::End end, Contents& contents, TreeBuilder& builder,
                     const Context& context, const Reading& reading)
{
    TarReader reader{archive, context.limits, end};
    for (;;) {
        TRY(check_stop(context.stop));
        const auto entry = TRY(reader.next());
        if (!entry) return {};
        TRY(builder.add(*entry, reader, contents));
        context.progress({.stage = reading.stage, .bytes = reading.done(), .total_bytes = reading.total});
    }
}

Result<> apply_layer(const LayerSource& layer, Application& application)
{
    TRY_DOING(layer.name, application.builder.begin_layer());
    const auto stream = TRY(layer.open());
    HashingStream packed{*stream};
    const auto unpacked = TRY(decompress(packed, application.budget, layer.pays, layer.name));
    HashingStream archive{*unpacked};
    const Reading reading{.stage = "reading layers",
                          .done = [&] { return application.done + packed.bytes(); },
                          .total = application.total};
    TRY_DOING(layer.name, add_archive(archive, TarReader::End::Any, application.contents, application.builder,
                                      application.context, reading));
    const auto diff_id = TRY(archive.finish());
    const auto digest = TRY(packed.finish());
    if ((layer.digest && digest != *layer.digest) || (layer.bytes && packed.bytes() != *layer.bytes))
        return fail(ErrorKind::Corrupt, cat(layer.name, " has the digest sha256:", digest.hex(), " and ",
                                            packed.bytes(), " bytes: it is not what the manifest names"));
    if (diff_id != layer.diff_id)
        return fail(ErrorKind::Corrupt, cat(layer.name, " contains the archive sha256:", diff_id.hex(),
                                            " and not sha256:", layer.diff_id.hex(), " of the configuration"));
    application.done += packed.bytes();
    return {};
}

} // namespace coppice::imports
