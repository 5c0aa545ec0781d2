from legato.engine.models.latent_config import LatentConfig
from legato.engine.models.latent_parameters import latent_parameters

NUM_HEADS, HIDDEN = 3, 32


def shapes(query_rank: int | None) -> dict[str, tuple[int, ...]]:
    latent = LatentConfig(
        query_rank=query_rank, latent_dim=4, plain_dim=2, rope_dim=6, value_dim=5, has_pairs=True
    )
    parameters = latent_parameters(latent, NUM_HEADS, HIDDEN, "layers.7")
    return {parameter.name: parameter.shape for parameter in parameters}


def test_queries_with_a_rank_have_a_norm_and_a_second_matrix() -> None:
    assert shapes(query_rank=9) == {
        "layers.7.qkv": (9 + 10, HIDDEN),
        "layers.7.latent.query_norm": (9,),
        "layers.7.latent.query": (NUM_HEADS * 8, 9),
        "layers.7.latent.norm": (4,),
        "layers.7.latent.expand": (NUM_HEADS * 7, 4),
    }


def test_queries_without_a_rank_are_read_off_the_hidden_states() -> None:
    assert shapes(query_rank=None) == {
        "layers.7.qkv": (NUM_HEADS * 8 + 10, HIDDEN),
        "layers.7.latent.norm": (4,),
        "layers.7.latent.expand": (NUM_HEADS * 7, 4),
    }
